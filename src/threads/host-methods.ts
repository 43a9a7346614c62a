/**
 * The methods that cross between the main thread and a host thread, in both directions. An actor goes by its number:
 * each incarnation has a new one, so that an answer to an earlier incarnation can't reach a later one.
 */
import type { MessagePort } from 'node:worker_threads';
import type {
  CommitOutcome,
  CommittedOffset,
  LogBatch,
  LogPage,
  PartitionBounds,
} from '../core/log-types.js';
import type {
  ActorApi,
  ActorCommit,
  ActorEvent,
  ActorSpec,
  ActorStats,
  ActorUplink,
  CheckpointReason,
  Chunk,
  ChunkDone,
  ClosedActor,
  CloseOptions,
  CommandCall,
  OpenedActor,
  OutputSpec,
  ParkedActor,
  PlaceNeeds,
  QueryCall,
  RecoveredActor,
  ResumedActor,
  ResumeOptions,
} from './protocol.js';
import type { WireError } from './wire-error.js';

/** What the entry of a host thread receives. */
export interface HostTask {
  /** The main thread calls, the worker serves `HostMethods`. */
  readonly calls: MessagePort;
  /** The worker calls, the main thread serves `UplinkMethods`. */
  readonly uplink: MessagePort;
  readonly place: number;
  /** Of its `ThreadPulse`, and how long the main thread lets it stand still. */
  readonly pulse: SharedArrayBuffer;
  readonly watchdogMs: number;
}

/** All actors of a thread, as `actor/actor-host.ts` offers them. */
export interface ThreadHost {
  create(actor: number, spec: ActorSpec, uplink: ActorUplink): void;
  /** Imports a processor that an actor will need. */
  prepare(processorUrl: string): Promise<void>;
  api(actor: number): ActorApi;
  remove(actor: number): void;
}

export interface HostMethods {
  /** Resolves to the thread's id once it serves. */
  ready(): number;
  /** Loads the processor's and the engine's code before an actor comes. */
  prepare(needs: PlaceNeeds): Promise<void>;
  create(actor: number, spec: ActorSpec): void;
  open(actor: number): Promise<OpenedActor>;
  recover(actor: number): Promise<RecoveredActor>;
  process(actor: number, chunk: Chunk): Promise<ChunkDone>;
  checkpoint(actor: number, reason: CheckpointReason): Promise<void>;
  command(actor: number, call: CommandCall): Promise<unknown>;
  query(actor: number, call: QueryCall): Promise<unknown>;
  setCacheBytes(actor: number, bytes: number): Promise<void>;
  stats(actor: number): Promise<ActorStats>;
  park(actor: number, options: CloseOptions): Promise<ParkedActor>;
  resume(actor: number, options: ResumeOptions): Promise<ResumedActor>;
  close(actor: number, options: CloseOptions): Promise<ClosedActor>;
  /** The host task ends and with it the thread; all actors must be closed. */
  drain(): void;
}

/** An event whose errors are in wire form. */
export type WireEvent = ActorEvent & { readonly wire?: WireError };

export interface UplinkMethods {
  init(actor: number): Promise<void>;
  committed(actor: number): Promise<readonly (CommittedOffset | undefined)[]>;
  inputBounds(actor: number): Promise<readonly PartitionBounds[]>;
  changelogBounds(actor: number): Promise<PartitionBounds>;
  readChangelog(
    actor: number,
    request: { readonly from: number; readonly maxBytes: number },
  ): Promise<LogPage>;
  commit(actor: number, request: ActorCommit): Promise<CommitOutcome>;
  describeTopic(actor: number, topic: string): Promise<OutputSpec | undefined>;
  produce(actor: number, batches: readonly LogBatch[]): Promise<void>;
  event(actor: number, event: WireEvent): void;
  log(level: LogLevel, fields: Readonly<Record<string, unknown>>, message: string): void;
}

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
