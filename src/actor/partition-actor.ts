/**
 * The actor of one partition: it alone owns the partition's database, cache and transaction. Its loop takes records,
 * commands and queries one after the other and yields to the event loop every few milliseconds; checkpoints overlap with
 * it. The actor never restarts itself: what goes wrong ends it with everything uncommitted, and the manager opens a new
 * one, which recovers (`state-recovery.ts`) from what is committed.
 *
 * created ─► opening ─► recovering ─► running;  any ─► closing ─► closed;  any ─► failed ─► closed
 */
import type { CheckpointRecord, StoreForm } from '../changelog/checkpoint-record.js';
import { decodeCheckpointRecord } from '../changelog/checkpoint-record.js';
import type { Timer } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import { Lifecycle } from '../core/lifecycle.js';
import { actorLifecycle } from '../core/lifecycles.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import type { Serde } from '../processor/serde.js';
import { traitsOf } from '../processor/serde.js';
import { StateStore } from '../state/state-store.js';
import { StorePartition } from '../storage/store-partition.js';
import {
  PROGRESS,
  type ActorApi,
  type ActorSpec,
  type ActorStats,
  type ActorUplink,
  type CheckpointReason,
  type Chunk,
  type ChunkDone,
  type ClosedActor,
  type CloseOptions,
  type CommandCall,
  type OpenedActor,
  type QueryCall,
  type RecoveredActor,
} from '../threads/protocol.js';
import type { ActorEnvironment } from './actor-environment.js';
import { CallQueue } from './call-queue.js';
import { Checkpoint } from './checkpoint.js';
import { InputLane } from './input-lane.js';
import { chooseLane } from './input-merge.js';
import { RecordProcessor } from './record-processor.js';
import { StateRecovery, type RecoveredState } from './state-recovery.js';

/** The clock and the control lane are looked at after so many records. */
const RECORDS_PER_LOOK = 32;
/** Bytes of at-least-once outputs that may be unacknowledged before the loop waits. */
const OUTPUTS_IN_FLIGHT_MAX = 8 << 20;
/** What a changelog record needs beside its key and value. */
const CHANGELOG_RECORD_OVERHEAD = 256;

export class PartitionActor implements ActorApi {
  readonly lifecycle: Lifecycle<(typeof actorLifecycle)['initial']>;
  readonly #spec: ActorSpec;
  readonly #uplink: ActorUplink;
  readonly #environment: ActorEnvironment;
  readonly #where: string;
  readonly #progress: Int32Array;
  readonly #abort = new AbortController();
  readonly #calls = new CallQueue();
  #definition: AnyDefinition | undefined;
  #config: unknown;
  #partition: StorePartition | undefined;
  #state: StateStore | undefined;
  #processor: RecordProcessor | undefined;
  #checkpoint: Checkpoint | undefined;
  /** Settles with the flush of the checkpoint under way; never rejects. */
  #flushed: Promise<void> | undefined;
  #lanes: readonly InputLane[] = [];
  #loop: Promise<void> = Promise.resolve();
  #failure: PartitaError | undefined;
  #closed: Promise<ClosedActor> | undefined;
  #opening: Promise<OpenedActor> | undefined;
  #released: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  /** Something has happened since the loop last looked. */
  #woken = false;
  #timer: Timer | undefined;
  #timerAt = Infinity;
  // Since the last checkpoint was frozen:
  #records = 0;
  #checkpointAt = Infinity;
  #asked: CheckpointReason | undefined;
  #committedPositions: CheckpointRecord['positions'] = {};
  #lastCommitAt = 0;
  #reset = false;
  // At-least-once outputs that left:
  #outputsSent: Promise<void> | undefined;
  #outputBytesInFlight = 0;
  #heldSince: number | undefined;
  #checkpoints = 0;
  #restoredRecords = 0;

  constructor(spec: ActorSpec, uplink: ActorUplink, environment: ActorEnvironment) {
    this.#spec = spec;
    this.#uplink = uplink;
    this.#environment = environment;
    this.#where = `${spec.id.stream}-${String(spec.id.partition)}`;
    this.lifecycle = new Lifecycle(actorLifecycle, `actor ${this.#where}`);
    this.#progress = new Int32Array(spec.progress);
  }

  async open(): Promise<OpenedActor> {
    this.lifecycle.move('opening');
    this.#opening = this.#open();
    try {
      return await this.#opening;
    } catch (error) {
      throw await this.#abandon(error);
    }
  }

  async recover(): Promise<RecoveredActor> {
    this.lifecycle.expect('opening');
    this.lifecycle.move('recovering');
    const { clock } = this.#environment;
    const startedAt = clock.monotonic();
    try {
      const recovered = await new StateRecovery({
        spec: this.#spec,
        uplink: this.#uplink,
        clock,
        partition: this.#partition,
        signal: this.#abort.signal,
      }).run();
      await this.#begin(recovered);
      this.#restoredRecords = recovered.restoredRecords;
      return {
        positions: Object.entries(recovered.positions).map(([topic, { offset }]) => ({ topic, offset })),
        restoredRecords: recovered.restoredRecords,
        restoredBytes: recovered.restoredBytes,
        rebuilt: recovered.rebuilt,
        durationMs: clock.monotonic() - startedAt,
      };
    } catch (error) {
      throw await this.#abandon(error);
    }
  }

  process(chunk: Chunk): Promise<ChunkDone> {
    // Its end is reported with the real reason; a refused chunk would be taken for one.
    if (this.#isEnding()) return Promise.reject(this.#restarted());
    const lane = this.#lanes.find((candidate) => candidate.spec.topic === chunk.topic);
    if (!this.lifecycle.is('running') || lane === undefined || chunk.epoch !== this.#spec.epoch)
      return Promise.resolve({ accepted: false, records: 0 });
    let done: Promise<ChunkDone>;
    try {
      done = lane.push(chunk);
    } catch (error) {
      void this.#fail(error);
      return Promise.reject(this.#restarted());
    }
    this.#wakeUp();
    return done;
  }

  async checkpoint(reason: CheckpointReason): Promise<void> {
    if (this.#isEnding()) throw this.#restarted();
    this.lifecycle.expect('running');
    this.#asked = reason;
    this.#wakeUp();
    await this.#calls.whenCommitted(() => this.#isClean());
  }

  command(call: CommandCall): Promise<unknown> {
    if (!this.lifecycle.is('running')) return Promise.reject(this.#restarted('notStarted'));
    const result = this.#calls.addCommand(call);
    this.#wakeUp();
    return result;
  }

  query(call: QueryCall): Promise<unknown> {
    if (!this.lifecycle.is('running')) return Promise.reject(this.#restarted());
    const result = this.#calls.addQuery(call);
    this.#wakeUp();
    return result;
  }

  setCacheBytes(bytes: number): Promise<void> {
    this.#state?.setCacheBytes(bytes);
    return Promise.resolve();
  }

  stats(): Promise<ActorStats> {
    const processor = this.#processor;
    return Promise.resolve({
      records: processor?.records ?? 0,
      skipped: processor?.skipped ?? 0,
      checkpoints: this.#checkpoints,
      commands: this.#calls.commands,
      queries: this.#calls.queries,
      cacheBytes: this.#state?.cacheBytes ?? 0,
      restoredRecords: this.#restoredRecords,
      positions: Object.fromEntries(this.#lanes.map((lane) => [lane.spec.topic, lane.position])),
    });
  }

  close(options: CloseOptions): Promise<ClosedActor> {
    return (this.#closed ??= this.#close(options));
  }

  #isEnding(): boolean {
    return this.lifecycle.is('failed', 'closing', 'closed');
  }

  // ── opening ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #open(): Promise<OpenedActor> {
    const spec = this.#spec;
    this.#definition = await this.#environment.importProcessor(spec.processorUrl);
    this.#config = parseConfig(this.#definition, spec);
    if (spec.changelog === undefined) return { storedOffset: undefined, rebuild: undefined };
    this.#partition = await StorePartition.open({
      directory: spec.directory,
      engine: spec.options.engine,
      changelogTopicId: spec.changelog.topicId,
      openBudgetMs: spec.options.openBudgetMs,
      engineOptions: { blockCacheBytes: 8 << 20, writeBufferBytes: 4 << 20 },
      clock: this.#environment.clock,
      signal: this.#abort.signal,
      rebuildOnCorruption: spec.options.rebuildOnCorruption,
      ...(this.#environment.engines === undefined ? {} : { factoryOf: this.#environment.engines }),
    });
    // Closed meanwhile: `close` waits for this and gives the database back.
    this.#throwIfStopped();
    return { storedOffset: this.#partition.offset, rebuild: this.#partition.mismatch?.message };
  }

  /** recovering → running: everything that records need stands, and the starting positions are committed. */
  async #begin(recovered: RecoveredState): Promise<void> {
    const spec = this.#spec;
    const { clock } = this.#environment;
    const definition = this.#definition!;
    const stores = storeForms(definition);
    this.#checkStores(stores);
    if (this.#partition !== undefined)
      this.#state = new StateStore({
        stores: definition.stores ?? {},
        partition: this.#partition,
        cacheBytes: spec.cacheBytes,
        maxRecordBytes: spec.changelog!.limits.maxBatchBytes - CHANGELOG_RECORD_OVERHEAD,
        stream: spec.id.stream,
        partitionNumber: spec.id.partition,
      });
    this.#processor = new RecordProcessor({
      spec,
      definition,
      config: this.#config,
      state: this.#state,
      uplink: this.#uplink,
      clock,
      signal: this.#abort.signal,
      eventClock: recovered.eventClock,
    });
    this.#checkpoint = new Checkpoint({
      spec,
      uplink: this.#uplink,
      clock,
      state: this.#state,
      partition: this.#partition,
      stores,
      last: recovered.checkpoint,
    });
    this.#lanes = spec.inputs
      .map(
        (input) =>
          new InputLane(
            input,
            spec.id.partition,
            recovered.positions[input.topic]!.offset,
            spec.options.checkCrc,
          ),
      )
      .sort((a, b) => (a.spec.topic < b.spec.topic ? -1 : 1));
    this.#committedPositions = this.#positions();
    this.#lastCommitAt = clock.monotonic();
    await definition.init?.({
      config: this.#config,
      partition: spec.id.partition,
      signal: this.#abort.signal,
    });
    if (recovered.commitFirst) {
      this.#reset = recovered.reset;
      await this.#startCheckpoint('asked');
    }
    if (this.#failure !== undefined) throw this.#failure;
    this.#throwIfStopped();
    this.lifecycle.move('running');
    this.#loop = this.#run().catch((error: unknown) => this.#fail(error));
  }

  #checkStores(declared: Readonly<Record<string, StoreForm>>): void {
    const bytes = this.#partition?.checkpointRecord;
    if (bytes === undefined) return;
    const { stores } = decodeCheckpointRecord(bytes, this.#where);
    for (const [name, stored] of Object.entries(stores)) {
      const now = declared[name];
      if (now === undefined)
        this.#uplink.event({
          type: 'warning',
          message: `The store ${name} of ${this.#where} is not declared any more; its entries are kept.`,
          details: { stream: this.#spec.id.stream, store: name },
        });
      else if (now.kind !== stored.kind || now.key !== stored.key || now.value !== stored.value)
        throw new PartitaError(
          'STORE_INCOMPATIBLE',
          `The store ${name} of ${this.#where} holds ${stored.kind} (${stored.key} → ${stored.value}) and is declared as ${now.kind} (${now.key} → ${now.value}); give the changed store another name.`,
          { details: { stream: this.#spec.id.stream, store: name } },
        );
    }
  }

  // ── the loop ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #run(): Promise<void> {
    while (this.lifecycle.is('running')) {
      this.#woken = false;
      Atomics.add(this.#progress, PROGRESS.heartbeat, 1);
      if (this.#calls.waiting) await this.#serveCalls();
      await this.#checkpointIfDue();
      if (!this.lifecycle.is('running')) return;
      const more = await this.#burst();
      this.#sendOutputs();
      if (this.#outputBytesInFlight > OUTPUTS_IN_FLIGHT_MAX) await this.#outputsSent;
      if (more || this.#calls.waiting) await yieldToEventLoop();
      else await this.#sleep();
    }
  }

  /** Processes records for at most `yieldMs`. Whether there are more at hand. */
  async #burst(): Promise<boolean> {
    const { clock } = this.#environment;
    const processor = this.#processor!;
    const until = clock.monotonic() + this.#spec.options.yieldMs;
    const single = this.#lanes.length === 1 ? this.#lanes[0]! : undefined;
    for (let look = 0; ; look++) {
      if (look === RECORDS_PER_LOOK) {
        look = 0;
        if (this.#calls.waiting || this.#isFull() || clock.monotonic() >= until) return true;
      }
      const lane = single ?? this.#nextLane();
      if (lane?.hasHead !== true) return false;
      const pending = processor.process(lane);
      this.#records++;
      if (this.#checkpointAt === Infinity) this.#becomeDirty();
      if (pending !== undefined) {
        await pending;
        if (!this.lifecycle.is('running')) return false;
        if (this.#calls.waiting || this.#isFull() || clock.monotonic() >= until) return true;
      }
    }
  }

  /** The lane to take from, among several; `undefined` while one must be waited for. */
  #nextLane(): InputLane | undefined {
    const { clock } = this.#environment;
    const { maxTopicWaitMs } = this.#spec.options;
    const waited =
      maxTopicWaitMs !== undefined &&
      this.#heldSince !== undefined &&
      clock.monotonic() - this.#heldSince >= maxTopicWaitMs;
    const choice = chooseLane(this.#lanes, waited);
    if (choice.kind === 'take') {
      if (waited)
        this.#uplink.event({
          type: 'warning',
          message: `${this.#where} went on after waiting ${String(maxTopicWaitMs)} ms for another input; its result may depend on timing.`,
          details: { stream: this.#spec.id.stream, partition: this.#spec.id.partition },
        });
      this.#heldSince = undefined;
      return choice.lane;
    }
    if (choice.kind === 'held' && maxTopicWaitMs !== undefined) {
      this.#heldSince ??= clock.monotonic();
      this.#wakeAt(this.#heldSince + maxTopicWaitMs);
    }
    return undefined;
  }

  /** Commands in order, and the queries that came in between; long queries go on beside the records. */
  async #serveCalls(): Promise<void> {
    const processor = this.#processor!;
    const { clock } = this.#environment;
    for (let call = this.#calls.next(); call !== undefined; call = this.#calls.next()) {
      if (call.kind === 'query') {
        const answered = processor.query(call.call).then(call.resolve, (error: unknown) => {
          // Under an actor that ended it saw the end of its state; the next actor can answer it.
          call.reject(this.lifecycle.is('running') ? error : this.#restarted());
        });
        // A handler that awaits could leave a record half done under a query's eyes: then they take turns.
        if (processor.asyncHandlers) await answered;
      } else {
        Atomics.store(this.#progress, PROGRESS.startedCommand, call.call.seq);
        try {
          const result = await processor.command(call.call);
          this.#calls.commandDone(call, result);
        } catch (error) {
          call.reject(error);
          if (this.#state?.failure !== undefined) throw error;
        }
        if (this.#checkpointAt === Infinity) this.#becomeDirty();
        const lingerAt = clock.monotonic() + this.#spec.options.commandLingerMs;
        if (call.call.ack === 'committed') this.#checkpointAt = Math.min(this.#checkpointAt, lingerAt);
      }
      if (!this.lifecycle.is('running') || this.#isFull()) return;
    }
  }

  async #sleep(): Promise<void> {
    if (this.#woken || !this.lifecycle.is('running')) return;
    if (this.#checkpointAt !== Infinity && this.#checkpoint?.underWay !== true)
      this.#wakeAt(this.#checkpointAt);
    else if (this.#positionsMoved()) this.#wakeAt(this.#lastCommitAt + this.#spec.options.idleCommitMs);
    await new Promise<void>((resolve) => {
      this.#wake = resolve;
    });
    this.#wake = undefined;
  }

  #wakeUp(): void {
    this.#woken = true;
    this.#wake?.();
  }

  /** Wakes the loop at a time of the monotonic clock, unless it is set to wake earlier. */
  #wakeAt(at: number): void {
    if (this.#timer !== undefined && this.#timerAt <= at) return;
    this.#timer?.cancel();
    this.#timerAt = at;
    const { clock } = this.#environment;
    this.#timer = clock.setTimer(Math.max(0, at - clock.monotonic()), () => {
      this.#timer = undefined;
      this.#wakeUp();
    });
  }

  // ── checkpoints ────────────────────────────────────────────────────────────────────────────────────────────────────

  #becomeDirty(): void {
    const { checkpointIntervalMs } = this.#spec.options;
    const now = this.#environment.clock.monotonic();
    // Staggered over the actors, so that they do not all commit in the same moment.
    const stagger = this.#checkpoints === 0 ? 0.5 + ((this.#spec.id.partition * 7) % 16) / 32 : 1;
    this.#checkpointAt = Math.min(this.#checkpointAt, now + checkpointIntervalMs * stagger);
  }

  /** Why a checkpoint should be taken now. */
  #due(): CheckpointReason | undefined {
    const { checkpointRecordsMax, idleCommitMs } = this.#spec.options;
    if (this.#asked !== undefined) return this.#asked;
    if (this.#records >= checkpointRecordsMax) return 'records';
    if (this.#isFull()) return 'bytes';
    const now = this.#environment.clock.monotonic();
    if (now >= this.#checkpointAt) return this.#calls.uncommitted > 0 ? 'command' : 'interval';
    if (this.#positionsMoved() && now - this.#lastCommitAt >= idleCommitMs) return 'idle';
    return undefined;
  }

  /** A layer or the waiting outputs have reached their bound: nothing more is taken until the next freeze. */
  #isFull(): boolean {
    const max = this.#spec.options.checkpointBytesMax;
    const { outputs, commandOutputs } = this.#processor!;
    return (this.#state?.dirtyBytes ?? 0) >= max || outputs.bytes >= max || commandOutputs.bytes >= max;
  }

  async #checkpointIfDue(): Promise<void> {
    const reason = this.#due();
    if (reason === undefined) return;
    if (this.#checkpoint!.underWay) {
      if (!this.#isFull()) return;
      await this.#flushed;
      if (!this.lifecycle.is('running')) return;
    }
    this.#asked = undefined;
    if (this.#isClean() && reason !== 'idle') {
      this.#calls.committed();
      return;
    }
    void this.#startCheckpoint(reason);
  }

  /** Freezes now; the promise settles with the flush and never rejects: a failure ends the actor. */
  #startCheckpoint(reason: CheckpointReason): Promise<void> {
    const processor = this.#processor!;
    this.#sendOutputs();
    const positions = this.#positions();
    const commands = this.#calls.takeUncommitted();
    const contents = {
      reason,
      positions,
      eventClock: processor.eventClock,
      outputs: processor.commandOutputs.take(),
      commands: commands.map(({ call, result }) => ({ seq: call.seq, result })),
      records: this.#records,
      outputsSent: this.#outputsSent,
      reset: this.#reset,
    };
    this.#records = 0;
    this.#checkpointAt = Infinity;
    this.#reset = false;
    this.#committedPositions = positions;
    this.#lastCommitAt = this.#environment.clock.monotonic();
    const run = this.#checkpoint!.run(contents, () => {
      for (const command of commands) command.resolve(command.result);
    });
    // Who asked before this freeze has what was asked for with its flush, also while newer records come in.
    const waiters = this.#calls.takeCommitWaiters();
    const done = run.then(
      () => {
        this.#checkpoints++;
        this.#flushed = undefined;
        for (const waiter of waiters) waiter.resolve(undefined);
        if (this.#isClean()) this.#calls.committed();
        else if (this.#calls.someoneWaitsForCommit) this.#asked = 'asked';
        this.#wakeUp();
      },
      (error: unknown) => {
        const outcome = isPartitaError(error, 'COMMIT_IN_DOUBT') ? 'unknown' : 'notApplied';
        for (const waiting of [...commands, ...waiters]) waiting.reject(this.#restarted(outcome));
        return this.#fail(error);
      },
    );
    this.#flushed = done;
    return done;
  }

  /** Nothing was processed since the last checkpoint, and that one is flushed. */
  #isClean(): boolean {
    return (
      this.#records === 0 &&
      this.#checkpointAt === Infinity &&
      this.#checkpoint?.underWay !== true &&
      !this.#positionsMoved()
    );
  }

  #positions(): CheckpointRecord['positions'] {
    return Object.fromEntries(
      this.#lanes.map(({ spec: { topic, topicId }, position }) => [topic, { topicId, offset: position }]),
    );
  }

  #positionsMoved(): boolean {
    for (const { spec, position } of this.#lanes)
      if (position !== this.#committedPositions[spec.topic]?.offset) return true;
    return false;
  }

  /**
   * At-least-once: what records emitted leaves now, outside the transaction; the next checkpoint awaits the answer. Under
   * exactly-once there is nothing to do: all outputs wait for the transaction.
   */
  #sendOutputs(): void {
    const { outputs, commandOutputs } = this.#processor!;
    if (outputs === commandOutputs || outputs.records === 0) return;
    const batches = outputs.take();
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes.byteLength, 0);
    this.#outputBytesInFlight += bytes;
    const earlier = this.#outputsSent;
    const sent = this.#uplink.produce(batches).then(() => {
      this.#outputBytesInFlight -= bytes;
    });
    const all = earlier === undefined ? sent : Promise.all([earlier, sent]).then(() => undefined);
    this.#outputsSent = all;
    all.then(
      () => {
        if (this.#outputsSent === all) this.#outputsSent = undefined;
      },
      (error: unknown) => this.#fail(error),
    );
  }

  // ── the end ────────────────────────────────────────────────────────────────────────────────────────────────────────

  async #close({ commit, budgetMs }: CloseOptions): Promise<ClosedActor> {
    if (this.lifecycle.is('closed', 'failed')) {
      await this.#release();
      return { outcome: 'dropped' };
    }
    const deadline = Deadline.after(this.#environment.clock, budgetMs);
    const wasRunning = this.lifecycle.is('running');
    this.lifecycle.move('closing');
    this.#dropUnstarted();
    this.#wakeUp();
    let outcome: ClosedActor['outcome'] = 'dropped';
    if (wasRunning && commit)
      try {
        outcome = await deadline.race(this.#commitAll(), `Closing ${this.#where}`);
      } catch (error) {
        // What is not committed in time will be processed again; the caller learns it from the outcome.
        this.#environment.logger.warn({ error, actor: this.#where }, 'closed without its last commit');
      }
    this.#abort.abort(new PartitaError('STOPPED', `The actor ${this.#where} was closed.`));
    await this.#whenOpeningSettled();
    await this.#release();
    if (this.lifecycle.is('closing')) this.lifecycle.move('closed');
    return { outcome };
  }

  /** The record under way ends, then the layer in flight, then the live one. */
  async #commitAll(): Promise<ClosedActor['outcome']> {
    await this.#loop;
    await this.#flushed;
    if (this.#failure === undefined && !this.#isClean()) await this.#startCheckpoint('close');
    return this.#failure === undefined ? 'committed' : 'dropped';
  }

  /** Ends the actor with everything uncommitted; the manager hears of it and opens a new one. */
  async #fail(error: unknown): Promise<void> {
    if (this.#failure !== undefined || this.lifecycle.is('closed')) return;
    const failure = toPartitaError(error, this.#where);
    this.#failure = failure;
    const closing = this.lifecycle.is('closing');
    const recovering = this.lifecycle.is('recovering');
    if (!closing) this.lifecycle.move('failed');
    this.#abort.abort(failure);
    this.#dropUnstarted();
    this.#wakeUp();
    if (closing) return;
    await this.#release();
    // While it recovers, the rejection of `recover` is the report.
    if (!recovering) this.#uplink.event({ type: 'failed', error: failure, restart: mayRestart(failure) });
  }

  /** Opening or recovering went wrong: everything is released, and the error to reject with is returned. */
  async #abandon(error: unknown): Promise<PartitaError> {
    const failure = (this.#failure ??= toPartitaError(error, this.#where));
    if (!this.lifecycle.is('closing', 'closed', 'failed')) {
      this.lifecycle.move('failed');
      this.#abort.abort(failure);
      await this.#release();
    }
    return failure;
  }

  #dropUnstarted(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    for (const lane of this.#lanes) lane.drop(() => this.#restarted());
    this.#calls.dropUnstarted((outcome) => this.#restarted(outcome));
  }

  /** A database that is being opened can be closed only then; the abort has cut its waiting short. */
  async #whenOpeningSettled(): Promise<void> {
    try {
      await this.#opening;
    } catch (error) {
      this.#environment.logger.debug({ error, actor: this.#where }, 'closed while it was opened');
    }
  }

  /** Idempotent: whoever needs the database to be free waits for the one release. */
  #release(): Promise<void> {
    return (this.#released ??= this.#giveBack());
  }

  async #giveBack(): Promise<void> {
    this.#calls.dropUncommitted((outcome) => this.#restarted(outcome));
    this.#state?.discard();
    try {
      await this.#partition?.close();
    } catch (error) {
      this.#environment.logger.warn({ error, actor: this.#where }, 'the database did not close cleanly');
    }
  }

  #throwIfStopped(): void {
    if (this.#abort.signal.aborted || this.lifecycle.is('closing'))
      throw new PartitaError('CALL_ABORTED', `The actor ${this.#where} was stopped.`);
  }

  #restarted(outcome?: 'notStarted' | 'notApplied' | 'unknown'): PartitaError {
    return new PartitaError('ACTOR_RESTARTED', `The actor ${this.#where} was closed or restarted.`, {
      ...(this.#failure === undefined ? {} : { cause: this.#failure }),
      details: {
        stream: this.#spec.id.stream,
        partition: this.#spec.id.partition,
        outcome: outcome ?? 'notStarted',
      },
    });
  }
}

function parseConfig(definition: AnyDefinition, spec: ActorSpec): unknown {
  if (definition.config === undefined) return spec.config;
  try {
    return definition.config.parse(spec.config);
  } catch (cause) {
    throw new PartitaError('INVALID_OPTIONS', `The config of the stream ${spec.id.stream} is not valid.`, {
      cause,
    });
  }
}

/** What stands in the checkpoint record about the declared stores. */
function storeForms(definition: AnyDefinition): CheckpointRecord['stores'] {
  return Object.fromEntries(
    Object.entries(definition.stores ?? {}).map(([name, declared]) => {
      const { kind, key, value } = declared as unknown as {
        readonly kind: string;
        readonly key: Serde<unknown>;
        readonly value: Serde<unknown>;
      };
      return [name, { kind, key: traitsOf(key).name, value: traitsOf(value).name }];
    }),
  );
}

function toPartitaError(error: unknown, where: string): PartitaError {
  return isPartitaError(error)
    ? error
    : new PartitaError('ACTOR_FAILED', `The actor ${where} failed: ${String(error)}`, { cause: error });
}

/** Errors that a restart can't mend: the same files, log and declarations would give them again. */
function mayRestart(error: PartitaError): boolean {
  return ![
    'STATE_MISSING',
    'OFFSETS_MOVED',
    'STORE_INCOMPATIBLE',
    'INVALID_PROCESSOR',
    'PARTITION_NOT_OWNED',
  ].includes(error.code);
}

function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
