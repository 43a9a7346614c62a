/** Makes the spec of one actor from its stream's plan and the resolved options; a pure function of both. */
import { join } from 'node:path';
import { PROGRESS, type ActorOptions, type ActorSpec, type SuspectRecord } from '../threads/protocol.js';
import type { WantedResets } from '../changelog/resets.js';
import type { ResolvedOptions } from './options.js';
import type { StreamPlan } from './stream-plan.js';

/** `<stateDir>/[<instanceId>/]<group>/<stream>/<partition>` */
export function actorDirectory(options: ResolvedOptions, stream: string, partition: number): string {
  return join(options.stateDir, options.instanceId ?? '', options.group, stream, String(partition));
}

/** A spec with fresh progress counters: those of an earlier incarnation keep telling what it did. */
export function actorSpec(
  plan: StreamPlan,
  options: ResolvedOptions,
  partition: number,
  run: { readonly epoch: number; readonly cacheBytes: number; readonly suspect?: SuspectRecord | undefined },
): ActorSpec {
  return {
    id: { stream: plan.stream, partition },
    group: options.group,
    epoch: run.epoch,
    processorUrl: plan.url,
    config: plan.config,
    inputs: plan.inputs,
    outputs: plan.outputs,
    deadLetters: plan.deadLetters,
    changelog: plan.changelog,
    directory: actorDirectory(options, plan.stream, partition),
    cacheBytes: run.cacheBytes,
    options: actorOptions(options, plan.stream),
    progress: new SharedArrayBuffer(PROGRESS.bytes),
    ...(run.suspect === undefined ? {} : { suspect: run.suspect }),
  };
}

function actorOptions(options: ResolvedOptions, stream: string): ActorOptions {
  return {
    guarantee: options.guarantee,
    engine: options.engine,
    sync: options.sync,
    startFrom: options.startFrom,
    checkpointIntervalMs: options.checkpoint.intervalMs,
    checkpointRecordsMax: options.checkpoint.recordsMax,
    checkpointBytesMax: options.checkpoint.bytesMax,
    commandLingerMs: options.commandLingerMs,
    idleCommitMs: options.idleCommitMs,
    maxTopicWaitMs: options.maxTopicWaitMs,
    maxClockAdvanceMs: options.maxClockAdvanceMs,
    yieldMs: options.yieldMs,
    recoveryPageBytes: options.recovery.pageBytes,
    openBudgetMs: options.openBudgetMs,
    changelogBlockedMs: options.recovery.changelogBlockedMs,
    onStateMissing: options.onStateMissing,
    onOffsetsMoved: options.onOffsetsMoved,
    resets: wantedResets(options, stream),
    onOutOfRange: options.onOutOfRange,
    rebuildOnCorruption: options.rebuildOnCorruption,
    checkCrc: options.checkCrc,
    watchdogMs: options.watchdogMs,
  };
}

/** What of the options' resets concerns this stream. */
function wantedResets({ resetId, reset, resetStores }: ResolvedOptions, stream: string): WantedResets {
  const names = resetStores?.stores[stream];
  const all = reset !== undefined && (reset.streams === undefined || reset.streams.includes(stream));
  return {
    moved: resetId,
    state: all ? { id: reset.id, to: reset.to } : undefined,
    stores: names === undefined ? undefined : { id: resetStores!.id, names },
  };
}
