/**
 * What an actor processes records with, made over what recovery arrived at: its stores, its handlers, its checkpoints, a
 * lane for each input. Made once per recovery; nothing of it outlives the state that it was made over.
 */
import type { Clock } from '../core/clock.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import { storesOf } from '../processor/tables.js';
import { EventClock, StateStore } from '../state/state-store.js';
import type { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';
import type { CallMark } from './call-mark.js';
import { Checkpoint } from './checkpoint.js';
import { checkStores, storeForms, timerKeySerde } from './declared-stores.js';
import { InputLane } from './input-lane.js';
import { RecordProcessor } from './record-processor.js';
import type { RecoveredState } from './state-recovery.js';

/** What a changelog record needs beside its key and value. */
const CHANGELOG_RECORD_OVERHEAD = 256;

export interface EquipmentOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly config: unknown;
  readonly partition: StorePartition | undefined;
  readonly cacheBytes: number;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly mark: CallMark;
}

export interface Equipment {
  /** Absent for a stream without state. */
  readonly state: StateStore | undefined;
  readonly eventClock: EventClock;
  readonly processor: RecordProcessor;
  readonly checkpoint: Checkpoint;
  /** Sorted by topic. */
  readonly lanes: readonly InputLane[];
}

/** @throws PartitaError STORE_INCOMPATIBLE, INVALID_PROCESSOR */
export function equip(recovered: RecoveredState, options: EquipmentOptions): Equipment {
  const { spec, definition, config, partition, uplink, clock, signal, mark } = options;
  const stores = storeForms(definition);
  checkStores(partition?.checkpointRecord, stores, spec, uplink);
  const eventClock = new EventClock(recovered.eventClock, spec.options.maxClockAdvanceMs);
  const state = partition === undefined ? undefined : storesOver(partition, options, eventClock);
  const { checkpoint: last } = recovered;
  return {
    state,
    eventClock,
    processor: new RecordProcessor({
      spec,
      definition,
      config,
      state,
      uplink,
      clock,
      signal,
      eventClock,
      mark,
    }),
    checkpoint: new Checkpoint({
      spec,
      uplink,
      clock,
      state,
      partition,
      stores,
      resets: recovered.resets,
      last,
    }),
    lanes: spec.inputs
      .map((input, index) => {
        const { offset } = recovered.positions[input.topic]!;
        return new InputLane(input, spec.id.partition, offset, spec.options.checkCrc, index);
      })
      .sort((a, b) => (a.spec.topic < b.spec.topic ? -1 : 1)),
  };
}

function storesOver(partition: StorePartition, options: EquipmentOptions, clock: EventClock): StateStore {
  const { spec, definition, cacheBytes } = options;
  return new StateStore({
    stores: storesOf(definition),
    timers: { key: timerKeySerde(definition), handlers: definition.timers ?? {} },
    partition,
    clock,
    wallNow: () => options.clock.now(),
    cacheBytes,
    maxRecordBytes: spec.changelog!.limits.maxBatchBytes - CHANGELOG_RECORD_OVERHEAD,
    stream: spec.id.stream,
    partitionNumber: spec.id.partition,
  });
}
