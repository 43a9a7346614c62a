/**
 * What an actor works with, made over what recovery arrived at: its stores, its handlers, a lane for each input, its
 * checkpoints and its loop. Made once per recovery; nothing of it outlives the state that it was made over.
 */
import { storesOf } from '../processor/tables.js';
import { EventClock, StateStore } from '../state/state-store.js';
import type { StorePartition } from '../storage/store-partition.js';
import { Checkpoint } from './checkpoint.js';
import { CheckpointCoordinator } from './checkpoint-coordinator.js';
import { positionsOf } from './checkpoint-schedule.js';
import { checkStores, storeForms, timerKeySerde } from './declared-stores.js';
import { InputLane } from './input-lane.js';
import type { OpenedParts } from './opened-parts.js';
import { ProcessingLoop, type LoopOptions } from './processing-loop.js';
import { RecordProcessor } from './record-processor.js';
import type { RecoveredState } from './state-recovery.js';

/** What a changelog record needs beside its key and value. */
const CHANGELOG_RECORD_OVERHEAD = 256;

export interface EquipmentOptions extends Omit<LoopOptions, 'equipment' | 'checkpoints'> {
  readonly opened: OpenedParts;
  readonly cacheBytes: number;
  readonly signal: AbortSignal;
}

export interface Equipment {
  /** Absent for a stream without state. */
  readonly partition: StorePartition | undefined;
  /** Absent for a stream without state. */
  readonly state: StateStore | undefined;
  readonly eventClock: EventClock;
  readonly processor: RecordProcessor;
  readonly checkpoint: Checkpoint;
  /** Sorted by topic. */
  readonly lanes: readonly InputLane[];
}

export interface Work {
  readonly equipment: Equipment;
  readonly checkpoints: CheckpointCoordinator;
  readonly loop: ProcessingLoop;
}

/** @throws PartitaError STORE_INCOMPATIBLE, INVALID_PROCESSOR */
export function prepareWork(recovered: RecoveredState, options: EquipmentOptions): Work {
  const equipment = equip(recovered, options);
  const checkpoints = new CheckpointCoordinator({ ...options, equipment });
  options.schedule.frozen(positionsOf(equipment.lanes));
  return { equipment, checkpoints, loop: new ProcessingLoop({ ...options, equipment, checkpoints }) };
}

function equip(recovered: RecoveredState, options: EquipmentOptions): Equipment {
  const { spec, uplink, clock, signal, mark } = options;
  const { definition, config, partition } = options.opened;
  const stores = storeForms(definition);
  checkStores(partition?.checkpointRecord, stores, spec, uplink);
  const eventClock = new EventClock(recovered.eventClock, spec.options.maxClockAdvanceMs);
  const state = partition === undefined ? undefined : storesOver(partition, options, eventClock);
  const { checkpoint: last } = recovered;
  return {
    partition,
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
  const { spec, cacheBytes } = options;
  const { definition } = options.opened;
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
