/**
 * Every type that crosses between the main house and the worker house. `ActorApi` is implemented twice: by
 * `actor/partition-actor.ts` in the worker and by `threads/actor-handle.ts` across the port, so that the whole runtime
 * also runs in one thread. `ActorUplink` is the way back: what an actor asks of the log, answered by
 * `manager/actor-uplink.ts`. All of it is structured-cloneable; buffers are transferred and gone.
 */
import type {
  Chunk,
  CommitOutcome,
  CommittedOffset,
  LogBatch,
  LogPage,
  OffsetCommit,
  PartitionBounds,
  TopicLimits,
} from '../core/log-types.js';
import type { WantedResets } from '../changelog/resets.js';
import type { EngineKind } from '../core/engine-kind.js';

export type { Chunk };

export interface ActorId {
  readonly stream: string;
  readonly partition: number;
}

export interface InputSpec {
  /** Name in the processor's declaration. */
  readonly input: string;
  readonly topic: string;
  readonly topicId: string;
  /** Kept as a table instead of being processed. */
  readonly isTable?: boolean;
}

export interface OutputSpec {
  readonly output: string;
  readonly topic: string;
  readonly partitions: number;
  readonly limits: TopicLimits;
}

export interface ChangelogSpec {
  readonly topic: string;
  readonly topicId: string;
  readonly limits: TopicLimits;
  readonly deleteRetentionMs: number;
}

/** The resolved options an actor needs; defaults are applied at the door (`manager/options.ts`). */
export interface ActorOptions {
  readonly guarantee: 'exactly-once' | 'at-least-once';
  readonly engine: EngineKind;
  readonly sync: boolean;
  readonly startFrom: 'earliest' | 'latest';
  readonly checkpointIntervalMs: number;
  readonly checkpointRecordsMax: number;
  /** Bytes of a layer or of waiting outputs that make a checkpoint due. */
  readonly checkpointBytesMax: number;
  readonly commandLingerMs: number;
  readonly idleCommitMs: number;
  readonly maxTopicWaitMs: number | undefined;
  /** What one record may add to the event clock. */
  readonly maxClockAdvanceMs: number | undefined;
  /** How long the loop may run before it yields to the event loop. */
  readonly yieldMs: number;
  readonly recoveryPageBytes: number;
  readonly openBudgetMs: number;
  readonly changelogBlockedMs: number;
  readonly onStateMissing: 'error' | 'startEmpty' | 'restoreFromDisk';
  readonly onOffsetsMoved: 'error' | 'useGroup' | 'useState' | 'resetState';
  /** What is to be given up on demand, once. */
  readonly resets: WantedResets;
  readonly onOutOfRange: 'error' | 'earliest' | 'latest';
  readonly rebuildOnCorruption: boolean;
  readonly checkCrc: boolean;
  /** How long an asynchronous handler may not settle before its actor counts as stuck; 0: for ever. */
  readonly watchdogMs: number;
}

/** A record in which incarnations before this one have died. */
export interface SuspectRecord {
  readonly topic: string;
  readonly offset: number;
  /** How each of them ended, in words. */
  readonly deaths: readonly string[];
  /** It has killed often enough: the error policy is applied to it, the handler is not called. */
  readonly isPoison: boolean;
}

/** Everything an actor is made of. */
export interface ActorSpec {
  readonly id: ActorId;
  readonly group: string;
  /** Rises with every assignment, restart and move; chunks carry it. */
  readonly epoch: number;
  readonly processorUrl: string;
  readonly config: unknown;
  readonly inputs: readonly InputSpec[];
  readonly outputs: readonly OutputSpec[];
  /** Topics that an error policy may name: partitions and limits, looked up at start where declared. */
  readonly deadLetters: readonly OutputSpec[];
  /** Absent for a stream without stores, windows and timers. */
  readonly changelog: ChangelogSpec | undefined;
  readonly directory: string;
  readonly cacheBytes: number;
  readonly options: ActorOptions;
  /** Numbers shared with the main thread, by `PROGRESS`: what survives the death of the thread. */
  readonly progress: SharedArrayBuffer;
  /** The record that is to be approached with care. */
  readonly suspect?: SuspectRecord;
}

/**
 * What `ActorSpec.progress` holds. Int32 slot `input`: the input (by its index in `ActorSpec.inputs`) of the record that the
 * actor is in, −1 for another call of the user's. Float64 slot `call`: 0 while the actor is in none of the user's calls;
 * otherwise the record's offset + 1 (1 for another call), negative while the call's promise is waited for, so that other
 * actors of the thread may run. Float64 slot `startedCommand`: the `seq` of the last command whose handler has started.
 */
export const PROGRESS = { input: 0, call: 1, startedCommand: 2, bytes: 24 } as const;

/** What an actor needs of its place, whichever partition it is of. */
export interface PlaceNeeds {
  readonly processorUrl: string;
  /** `undefined` for a stream without a database. */
  readonly engine: EngineKind | undefined;
}

/** What `open` found. */
export interface OpenedActor {
  /** Changelog offset up to which the database holds everything; -1: nothing. `undefined` without a changelog. */
  readonly storedOffset: number | undefined;
  /** Why the database was (or must be) rebuilt from the log, if it must. */
  readonly rebuild: string | undefined;
}

/** What `recover` arrived at; the actor serves from here on. */
export interface RecoveredActor {
  /** Where to fetch each input from. */
  readonly positions: readonly { readonly topic: string; readonly offset: number }[];
  readonly restoredRecords: number;
  readonly restoredBytes: number;
  readonly rebuilt: string | undefined;
  readonly durationMs: number;
}

/**
 * `parked`: everything processed is committed and flushed, the database stays open and the cache warm. `dropped`: that
 * was not possible, or not in time; the actor is closed.
 */
export interface ParkedActor {
  readonly outcome: 'parked' | 'dropped';
}

export interface ResumeOptions {
  /** What its chunks carry from here on. */
  readonly epoch: number;
  /** Somebody may have written meanwhile: the log is asked first. */
  readonly verify: boolean;
}

/**
 * `unchanged`: nobody can have written, the log was not asked. `verified`: the log says that nobody has; the cache was
 * kept. `recovered`: somebody has, or may have; the cache was dropped and the state recovered.
 */
export interface ResumedActor extends RecoveredActor {
  readonly how: 'unchanged' | 'verified' | 'recovered';
}

/** `accepted: false`: stale epoch or not the next position; nothing of it was processed. */
export interface ChunkDone {
  readonly accepted: boolean;
  readonly records: number;
}

export interface CommandCall {
  /** Strictly rising per actor; written to `PROGRESS.startedCommand` when its handler starts. */
  readonly seq: number;
  readonly name: string;
  /** The key as the caller passed it, or undefined for a call by partition. */
  readonly key: unknown;
  readonly args: readonly unknown[];
  readonly ack: 'processed' | 'committed';
}

export interface QueryCall {
  readonly name: string;
  readonly key: unknown;
  readonly args: readonly unknown[];
  readonly read: 'latest' | 'committed';
  /** An answer that comes later is nobody's; default: none. */
  readonly timeoutMs?: number;
}

export type CheckpointReason =
  'interval' | 'records' | 'bytes' | 'asked' | 'command' | 'close' | 'idle' | 'suspect';

export interface CloseOptions {
  /** Commit the live layer first if the budget allows; otherwise drop it. */
  readonly commit: boolean;
  readonly budgetMs: number;
}

/** `committed`: everything processed is committed. `dropped`: some was dropped and will be processed again. */
export interface ClosedActor {
  readonly outcome: 'committed' | 'dropped';
}

/** One actor, wherever it runs. Every promise settles, also when the thread dies (THREAD_DIED). */
export interface ActorApi {
  /** created → opening. Opens (and if need be destroys) the database. */
  open(): Promise<OpenedActor>;
  /** opening → recovering → running. Resolves when it accepts traffic. */
  recover(): Promise<RecoveredActor>;
  /** Resolves when the chunk has been processed, which returns its credit; rejects ACTOR_RESTARTED if it never will be. */
  process(chunk: Chunk): Promise<ChunkDone>;
  /** Commits everything processed up to now. */
  checkpoint(reason: CheckpointReason): Promise<void>;
  /** Resolves with the handler's result, acknowledged as asked. */
  command(call: CommandCall): Promise<unknown>;
  query(call: QueryCall): Promise<unknown>;
  setCacheBytes(bytes: number): Promise<void>;
  stats(): Promise<ActorStats>;
  /**
   * Takes nothing more, drops what has not started, commits within the budget, and keeps database and cache. An actor that
   * is not running, or can't commit in time, is closed.
   */
  park(options: CloseOptions): Promise<ParkedActor>;
  /** A parked actor serves again, as after `recover`. If it rejects, the actor is closed. */
  resume(options: ResumeOptions): Promise<ResumedActor>;
  /** Idempotent; releases the database. */
  close(options: CloseOptions): Promise<ClosedActor>;
}

export interface ActorStats {
  readonly records: number;
  /** Records, timers and closings of windows that their error policy left out. */
  readonly skipped: number;
  /** Timers that have fired. */
  readonly timers: number;
  /** Events that missed a window which had closed before they came. */
  readonly late: number;
  /** Values that windowed stores skipped for their null key. */
  readonly nullKeys: number;
  /** Windows have closed by event time and have not all been handed over yet. */
  readonly isClosingWindows: boolean;
  readonly checkpoints: number;
  readonly commands: number;
  readonly queries: number;
  readonly cacheBytes: number;
  readonly restoredRecords: number;
  readonly positions: Readonly<Record<string, number>>;
}

export interface ActorCommit {
  readonly batches: readonly LogBatch[];
  readonly offsets: readonly OffsetCommit[];
  /** Commands with ack `committed` whose effects it holds: acknowledged on the main thread at the commit. */
  readonly commands: readonly { readonly seq: number; readonly result: unknown }[];
}

/** What an actor asks of the main thread. Bound to one actor and epoch; a stale one's calls reject FENCED. */
export interface ActorUplink {
  /** Asks ownership, then inits the transactional id (fences and settles). Rejects PARTITION_NOT_OWNED if lost. */
  init(): Promise<void>;
  committed(): Promise<readonly (CommittedOffset | undefined)[]>;
  /** Bounds of every input, in the order of `ActorSpec.inputs`. */
  inputBounds(): Promise<readonly PartitionBounds[]>;
  changelogBounds(): Promise<PartitionBounds>;
  readChangelog(request: { readonly from: number; readonly maxBytes: number }): Promise<LogPage>;
  commit(request: ActorCommit): Promise<CommitOutcome>;
  /** A topic that an error policy names at run time; `undefined` if it does not exist. */
  describeTopic(topic: string): Promise<OutputSpec | undefined>;
  /** At-least-once outputs: resolves when acknowledged. */
  produce(batches: readonly LogBatch[]): Promise<void>;
  event(event: ActorEvent): void;
}

/** What an actor reports; none of it is needed for correctness except `failed`, which the supervisor acts on. */
export type ActorEvent =
  | {
      readonly type: 'recovery';
      readonly records: number;
      readonly rate: number;
      readonly remaining: number;
    }
  | {
      readonly type: 'checkpoint';
      readonly number: number;
      readonly records: number;
      readonly bytes: number;
      readonly durationMs: number;
      readonly reason: CheckpointReason;
    }
  | {
      readonly type: 'warning';
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
    }
  | { readonly type: 'skipped'; readonly topic: string; readonly offset: number; readonly error: unknown }
  | { readonly type: 'failed'; readonly error: unknown };
