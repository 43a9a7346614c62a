/**
 * The actor of one partition: it alone owns the partition's database, cache and transaction. Its loop takes records,
 * commands and queries one after the other and yields to the event loop every few milliseconds; checkpoints overlap with
 * it. The actor never restarts itself: what goes wrong ends it with everything uncommitted, and the manager opens a new
 * one, which recovers (`state-recovery.ts`) from what is committed.
 *
 * created ─► opening ─► recovering ─► running ─► parked ─► recovering | running
 * any ─► closing ─► closed;  any ─► failed ─► closed
 */
import { Deadline } from '../core/deadline.js';
import { isPartitaError, PartitaError } from '../core/errors.js';
import { Lifecycle } from '../core/lifecycle.js';
import { actorLifecycle } from '../core/lifecycles.js';
import { unlessAborted } from '../core/unless-aborted.js';
import { Watchdog } from '../core/watchdog.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import type { EventClock, StateStore } from '../state/state-store.js';
import { StorePartition } from '../storage/store-partition.js';
import {
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
  type ParkedActor,
  type QueryCall,
  type RecoveredActor,
  type ResumedActor,
  type ResumeOptions,
} from '../threads/protocol.js';
import type { ActorEnvironment } from './actor-environment.js';
import { restartedError, stuckError, toPartitaError } from './actor-errors.js';
import { CallMark } from './call-mark.js';
import { CallQueue, type CommandOutcome } from './call-queue.js';
import type { Checkpoint } from './checkpoint.js';
import { CheckpointSchedule, positionsOf } from './checkpoint-schedule.js';
import { parseConfig } from './declared-stores.js';
import { EarlyOutputs } from './early-outputs.js';
import { equip } from './equipment.js';
import { IdleTime } from './idle-time.js';
import type { InputLane } from './input-lane.js';
import { chooseLane } from './input-merge.js';
import type { RecordProcessor } from './record-processor.js';
import { StateRecovery, type RecoveredState } from './state-recovery.js';
import { poisonError, SuspectApproach } from './suspect-approach.js';
import { WakeUp } from './wake-up.js';

/** The clock and the control lane are looked at after so many records. */
const RECORDS_PER_LOOK = 32;
/** Bytes of at-least-once outputs that may be unacknowledged before the loop waits. */
const OUTPUTS_IN_FLIGHT_MAX = 2 << 20;
/** Fewer bytes of them wait for the next bursts, a few at most, while there is more to process: each sending has its price. */
const OUTPUTS_SENT_MIN = 128 << 10;
const OUTPUT_BURSTS_MAX = 4;

export class PartitionActor implements ActorApi {
  readonly lifecycle: Lifecycle<(typeof actorLifecycle)['initial']>;
  readonly #spec: ActorSpec;
  readonly #uplink: ActorUplink;
  readonly #environment: ActorEnvironment;
  readonly #where: string;
  readonly #mark: CallMark;
  readonly #watchdog: Watchdog;
  #unwatch: () => void = () => undefined;
  readonly #abort = new AbortController();
  readonly #calls = new CallQueue();
  #definition: AnyDefinition | undefined;
  #config: unknown;
  #partition: StorePartition | undefined;
  #state: StateStore | undefined;
  #processor: RecordProcessor | undefined;
  #eventClock: EventClock | undefined;
  #checkpoint: Checkpoint | undefined;
  /** Settles with the flush of the checkpoint under way; never rejects. */
  #flushed: Promise<void> | undefined;
  #lanes: readonly InputLane[] = [];
  #loop: Promise<void> = Promise.resolve();
  #failure: PartitaError | undefined;
  #closed: Promise<ClosedActor> | undefined;
  #opening: Promise<OpenedActor> | undefined;
  #released: Promise<void> | undefined;
  readonly #wakeUp: WakeUp;
  readonly #schedule: CheckpointSchedule;
  readonly #early: EarlyOutputs;
  /** What chunks must carry; rises with every parking. */
  #epoch: number;
  #cacheBytes: number;
  /** Parked, with nothing under way and nothing uncommitted. */
  #quiet = false;
  #reset = false;
  #heldSince: number | undefined;
  #idle: IdleTime | undefined;
  /** Records that had been processed when it was last looked at. */
  #idleRecords = 0;
  #restoredRecords = 0;
  /** On the way to a record in which incarnations before this one have died. */
  #approach: SuspectApproach | undefined;

  constructor(spec: ActorSpec, uplink: ActorUplink, environment: ActorEnvironment) {
    this.#spec = spec;
    this.#uplink = uplink;
    this.#environment = environment;
    this.#where = `${spec.id.stream}-${String(spec.id.partition)}`;
    this.lifecycle = new Lifecycle(actorLifecycle, `actor ${this.#where}`);
    this.#mark = new CallMark(spec.progress);
    this.#watchdog = new Watchdog({
      clock: environment.clock,
      limitMs: spec.options.watchdogMs,
      isDebugged: environment.isDebugged ?? (() => false),
    });
    this.#approach = spec.suspect === undefined ? undefined : new SuspectApproach(spec.suspect);
    this.#wakeUp = new WakeUp(environment.clock);
    this.#schedule = new CheckpointSchedule(spec, environment.clock);
    this.#early = new EarlyOutputs(uplink, (error) => void this.#fail(error));
    this.#epoch = spec.epoch;
    this.#cacheBytes = spec.cacheBytes;
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
    const startedAt = this.#environment.clock.monotonic();
    try {
      const recovered = await this.#recovery().run();
      this.#throwIfStopped();
      this.#equip(recovered);
      this.#watch();
      await this.#init();
      await this.#start(recovered);
      return this.#recoveredActor(startedAt, recovered);
    } catch (error) {
      throw await this.#abandon(error);
    }
  }

  process(chunk: Chunk): Promise<ChunkDone> {
    // Its end is reported with the real reason; a refused chunk would be taken for one.
    if (this.#isEnding()) return Promise.reject(this.#restarted());
    const lane = this.#lanes.find((candidate) => candidate.spec.topic === chunk.topic);
    if (!this.lifecycle.is('running') || lane === undefined || chunk.epoch !== this.#epoch)
      return Promise.resolve({ accepted: false, records: 0 });
    let done: Promise<ChunkDone>;
    try {
      done = lane.push(chunk);
    } catch (error) {
      void this.#fail(error);
      return Promise.reject(this.#restarted());
    }
    this.#wakeUp.ring();
    return done;
  }

  async checkpoint(reason: CheckpointReason): Promise<void> {
    if (this.#isEnding()) throw this.#restarted();
    this.lifecycle.expect('running');
    this.#schedule.asked = reason;
    this.#wakeUp.ring();
    await this.#calls.whenCommitted(() => this.#isClean());
  }

  command(call: CommandCall): Promise<unknown> {
    if (!this.lifecycle.is('running')) return Promise.reject(this.#restarted('notStarted'));
    const result = this.#calls.addCommand(call);
    this.#wakeUp.ring();
    return result;
  }

  query(call: QueryCall): Promise<unknown> {
    if (!this.lifecycle.is('running')) return Promise.reject(this.#restarted());
    const result = this.#calls.addQuery(call);
    this.#wakeUp.ring();
    return result;
  }

  setCacheBytes(bytes: number): Promise<void> {
    this.#cacheBytes = bytes;
    this.#state?.setCacheBytes(bytes);
    return Promise.resolve();
  }

  stats(): Promise<ActorStats> {
    const processor = this.#processor;
    const { due, dueByWallClock } = processor ?? {};
    return Promise.resolve({
      records: processor?.records ?? 0,
      skipped: (processor?.skipped ?? 0) + (due?.skipped ?? 0) + (dueByWallClock?.skipped ?? 0),
      timers: (due?.timers ?? 0) + (dueByWallClock?.timers ?? 0),
      late: processor?.late ?? 0,
      nullKeys: this.#state?.events.nullKeys ?? 0,
      isClosingWindows: due?.pendingWindows === true,
      checkpoints: this.#schedule.done,
      commands: this.#calls.commands,
      queries: this.#calls.queries,
      cacheBytes: this.#state?.cacheBytes ?? 0,
      restoredRecords: this.#restoredRecords,
      positions: Object.fromEntries(this.#lanes.map((lane) => [lane.spec.topic, lane.position])),
    });
  }

  async park(options: CloseOptions): Promise<ParkedActor> {
    if (options.commit && this.lifecycle.is('running')) {
      // At once: nothing more is taken. What was processed is committed while it is parked.
      this.lifecycle.move('parked');
      this.#dropUnstarted();
      this.#wakeUp.ring();
      const deadline = Deadline.after(this.#environment.clock, options.budgetMs);
      const committed = await this.#commitWithin(deadline, 'Parking');
      // It may have been closed, or have failed, meanwhile.
      if (committed && this.lifecycle.is('parked')) {
        this.#quiet = true;
        return { outcome: 'parked' };
      }
    }
    await this.close({ commit: false, budgetMs: 0 });
    return { outcome: 'dropped' };
  }

  async resume({ epoch, verify }: ResumeOptions): Promise<ResumedActor> {
    this.lifecycle.expect('parked');
    this.#quiet = false;
    this.#epoch = epoch;
    const startedAt = this.#environment.clock.monotonic();
    if (!verify) return this.#goOn('unchanged', startedAt);
    this.lifecycle.move('recovering');
    try {
      const recovered = await this.#recovery().runAfterParking(positionsOf(this.#lanes), () => {
        // Before the database changes: a query that is still under way must not see it half replayed.
        this.#state?.discard();
      });
      this.#throwIfStopped();
      if (recovered === undefined) return this.#goOn('verified', startedAt);
      this.#equip(recovered);
      await this.#start(recovered);
      return { ...this.#recoveredActor(startedAt, recovered), how: 'recovered' };
    } catch (error) {
      throw await this.#abandon(error);
    }
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

  #recovery(): StateRecovery {
    return new StateRecovery({
      spec: this.#spec,
      uplink: this.#uplink,
      clock: this.#environment.clock,
      partition: this.#partition,
      signal: this.#abort.signal,
    });
  }

  /** Everything that records need, over what was recovered. */
  #equip(recovered: RecoveredState): void {
    const made = equip(recovered, {
      spec: this.#spec,
      definition: this.#definition!,
      config: this.#config,
      partition: this.#partition,
      cacheBytes: this.#cacheBytes,
      uplink: this.#uplink,
      clock: this.#environment.clock,
      signal: this.#abort.signal,
      mark: this.#mark,
    });
    this.#state = made.state;
    this.#eventClock = made.eventClock;
    this.#processor = made.processor;
    this.#checkpoint = made.checkpoint;
    this.#lanes = made.lanes;
    const idle = made.state?.idle ?? [];
    this.#idle = idle.length === 0 ? undefined : new IdleTime(this.#environment.clock, idle);
    this.#schedule.frozen(positionsOf(made.lanes));
    this.#restoredRecords = recovered.restoredRecords;
  }

  /** The processor's own beginning; one that never ends is cut off with the actor. */
  async #init(): Promise<void> {
    const { init } = this.#definition!;
    if (init === undefined) return;
    const { signal } = this.#abort;
    this.#mark.call();
    const initialised = init({ config: this.#config, partition: this.#spec.id.partition, signal });
    this.#mark.pending();
    await unlessAborted(Promise.resolve(initialised), signal);
    this.#mark.none();
  }

  /** From here on a handler that does not settle in time ends the actor, and it alone. */
  #watch(): void {
    this.#unwatch = this.#watchdog.watch(
      () => this.#mark.waiting,
      () => void this.#fail(stuckError(this.#spec, this.#mark.at)),
    );
  }

  /** recovering → running; the starting positions are committed first. */
  async #start(recovered: RecoveredState): Promise<void> {
    if (recovered.commitFirst) {
      this.#reset = recovered.reset;
      await this.#startCheckpoint('asked');
    }
    if (this.#failure !== undefined) throw this.#failure;
    this.#throwIfStopped();
    this.#run();
  }

  /** parked or recovering → running, with everything as it was. */
  #goOn(how: 'unchanged' | 'verified', startedAt: number): ResumedActor {
    for (const lane of this.#lanes) lane.restart();
    this.#run();
    return { ...this.#recoveredActor(startedAt), how };
  }

  #run(): void {
    this.lifecycle.move('running');
    this.#heldSince = undefined;
    this.#idle?.busy();
    this.#loop = this.#work().catch((error: unknown) => this.#fail(error));
  }

  #recoveredActor(startedAt: number, recovered?: RecoveredState): RecoveredActor {
    return {
      positions: this.#lanes.map(({ spec: { topic }, position }) => ({ topic, offset: position })),
      restoredRecords: recovered?.restoredRecords ?? 0,
      restoredBytes: recovered?.restoredBytes ?? 0,
      rebuilt: recovered?.rebuilt,
      durationMs: this.#environment.clock.monotonic() - startedAt,
    };
  }

  // ── the loop ───────────────────────────────────────────────────────────────────────────────────────────────────────

  async #work(): Promise<void> {
    let bursts = 0;
    while (this.lifecycle.is('running')) {
      this.#wakeUp.looking();
      if (this.#calls.waiting) await this.#serveCalls();
      await this.#checkpointIfDue();
      if (!this.lifecycle.is('running')) return;
      const approach = this.#approach;
      const next = () => (approach === undefined ? this.#burst() : this.#approachSuspect(approach));
      const left = (await this.#runDue()) ? await next() : true;
      const more = (this.#idle !== undefined && this.#passIdleTime(this.#idle)) || left;
      if (!more || ++bursts >= OUTPUT_BURSTS_MAX || this.#processor!.outputs.bytes >= OUTPUTS_SENT_MIN) {
        bursts = 0;
        this.#sendOutputs();
      }
      if (this.#early.bytesInFlight > OUTPUTS_IN_FLIGHT_MAX) await this.#early.sent;
      if (more || this.#calls.waiting) await yieldToEventLoop();
      else await this.#sleep();
    }
  }

  /** What is due by wall-clock, then what is due by event time. Whether all of it is done. */
  async #runDue(): Promise<boolean> {
    const { due, dueByWallClock } = this.#processor!;
    const until = this.#environment.clock.monotonic() + this.#spec.options.yieldMs;
    const stop = () => this.#mustLook(until);
    for (const runner of [dueByWallClock, due]) {
      if (runner?.pending !== true) continue;
      this.#mark.call();
      const done = await this.#called(runner.run(stop));
      if (!this.lifecycle.is('running')) return false;
      this.#noteChanges();
      if (!done) return false;
    }
    return true;
  }

  /** Whether windows have been closed by idleness alone, and are to be emitted now. */
  #passIdleTime(idle: IdleTime): boolean {
    const records = this.#processor!.records;
    if (records !== this.#idleRecords || !this.#lanes.every((lane) => lane.isAtEnd)) {
      this.#idleRecords = records;
      idle.busy();
      return false;
    }
    idle.idle();
    this.#noteChanges();
    return this.#processor!.due?.pending === true;
  }

  /** What came due has changed something: a checkpoint will take it along. */
  #noteChanges(): void {
    if (this.#schedule.at === Infinity && (this.#state?.dirtyCount ?? 0) > 0) this.#schedule.becomeDirty();
  }

  /** Calls wait, the layer is full, or the time is up. */
  #mustLook(until: number): boolean {
    return this.#calls.waiting || this.#isFull() || this.#environment.clock.monotonic() >= until;
  }

  /** Processes records for at most `yieldMs`. Whether there are more at hand. */
  async #burst(): Promise<boolean> {
    const { clock } = this.#environment;
    const processor = this.#processor!;
    const { due } = processor;
    const schedule = this.#schedule;
    const until = clock.monotonic() + this.#spec.options.yieldMs;
    const stop = () => this.#mustLook(until);
    const single = this.#lanes.length === 1 ? this.#lanes[0]! : undefined;
    const mark = this.#mark;
    for (let look = 0; ; look++) {
      if (look === RECORDS_PER_LOOK) {
        look = 0;
        if (stop()) break;
      }
      const lane = single ?? this.#nextLane();
      if (lane?.hasHead !== true) {
        mark.none();
        return false;
      }
      mark.record(lane.index, lane.reader.offset);
      const pending = processor.process(lane);
      schedule.records++;
      if (schedule.at === Infinity) schedule.becomeDirty();
      if (pending !== undefined) {
        mark.pending();
        await pending;
        mark.none();
        if (!this.lifecycle.is('running')) return false;
      }
      if (due?.pending === true) {
        mark.call();
        const done = due.run(stop);
        if (done !== true && !(await this.#called(done))) return true;
        if (!this.lifecycle.is('running')) return false;
      }
      if (pending !== undefined && stop()) break;
    }
    mark.none();
    return true;
  }

  /** What one of the user's calls comes to; other actors of the thread may run meanwhile. */
  async #called<T>(result: T | Promise<T>): Promise<T> {
    this.#mark.pending();
    try {
      return await result;
    } finally {
      this.#mark.none();
    }
  }

  /** One record on the way to the suspect one, with the checkpoints that the way needs. Whether there may be more at hand. */
  async #approachSuspect(approach: SuspectApproach): Promise<boolean> {
    const processor = this.#processor!;
    const lane = this.#lanes.length === 1 ? this.#lanes[0] : this.#nextLane();
    if (lane?.hasHead !== true) return false;
    const { offset } = lane.reader;
    const step = approach.step(lane.spec.topic, offset);
    if (step === 'over') {
      this.#approach = undefined;
      return true;
    }
    if (step !== 'go' && !(await this.#commitOnTheWay())) return false;
    this.#mark.record(lane.index, offset);
    const pending =
      step === 'refuse'
        ? processor.refuse(lane, poisonError(this.#spec.id, this.#spec.suspect!))
        : processor.process(lane);
    this.#schedule.records++;
    if (this.#schedule.at === Infinity) this.#schedule.becomeDirty();
    await this.#called(pending);
    if (!this.lifecycle.is('running')) return false;
    if (step === 'go' || step === 'commit') return true;
    this.#approach = undefined;
    return this.#commitOnTheWay();
  }

  /** Everything up to here is committed and flushed. Whether the actor goes on. */
  async #commitOnTheWay(): Promise<boolean> {
    await this.#flushed;
    await this.#state?.settle();
    if (this.lifecycle.is('running') && !this.#isClean()) await this.#startCheckpoint('suspect');
    return this.lifecycle.is('running');
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
      this.#wakeUp.ringAt(this.#heldSince + maxTopicWaitMs);
    }
    return undefined;
  }

  /** Commands in order, and the queries that came in between; long queries go on beside the records. */
  async #serveCalls(): Promise<void> {
    const processor = this.#processor!;
    for (let call = this.#calls.next(); call !== undefined; call = this.#calls.next()) {
      if (call.kind === 'query') {
        this.#mark.call();
        const answered = processor.query(call.call).then(call.resolve, (error: unknown) => {
          // Under an actor that ended it saw the end of its state; the next actor can answer it.
          const goesOn = this.lifecycle.is('running') && this.#processor === processor;
          call.reject(goesOn ? error : this.#restarted());
          // Damage that a query meets is there for records too: the next actor rebuilds the database, or says CORRUPT.
          const damage = this.#partition?.damage;
          if (goesOn && damage !== undefined) void this.#fail(damage);
        });
        // A handler that awaits could leave a record half done under a query's eyes: then they take turns.
        if (processor.asyncHandlers) await this.#called(answered);
        this.#mark.none();
      } else {
        this.#mark.command(call.call.seq);
        try {
          const result = await this.#called(processor.command(call.call));
          this.#calls.commandDone(call, result);
        } catch (error) {
          call.reject(error);
          if (this.#state?.failure !== undefined) throw error;
        }
        if (this.#schedule.at === Infinity) this.#schedule.becomeDirty();
        if (call.call.ack === 'committed') this.#schedule.dueWithin(this.#spec.options.commandLingerMs);
      }
      if (!this.lifecycle.is('running') || this.#isFull()) return;
    }
  }

  async #sleep(): Promise<void> {
    if (this.#wakeUp.rung || !this.lifecycle.is('running')) return;
    const { at, idleAt } = this.#schedule;
    if (at !== Infinity && this.#checkpoint?.underWay !== true) this.#wakeUp.ringAt(at);
    else if (this.#positionsMoved()) this.#wakeUp.ringAt(idleAt);
    if (this.#idle !== undefined && this.#idle.dueAt !== Infinity) this.#wakeUp.ringAt(this.#idle.dueAt);
    const wall = this.#processor?.dueByWallClock?.nextMs ?? Infinity;
    const { clock } = this.#environment;
    if (wall !== Infinity) this.#wakeUp.ringAt(clock.monotonic() + Math.max(0, wall - clock.now()));
    await this.#wakeUp.sleep();
  }

  // ── checkpoints ────────────────────────────────────────────────────────────────────────────────────────────────────

  /** A layer or the waiting outputs have reached their bound: nothing more is taken until the next freeze. */
  #isFull(): boolean {
    const max = this.#spec.options.checkpointBytesMax;
    const { outputs, commandOutputs } = this.#processor!;
    return (this.#state?.dirtyBytes ?? 0) >= max || outputs.bytes >= max || commandOutputs.bytes >= max;
  }

  async #checkpointIfDue(): Promise<void> {
    const reason = this.#schedule.due({
      full: this.#isFull(),
      commands: this.#calls.uncommitted > 0,
      moved: this.#positionsMoved(),
    });
    if (reason === undefined) return;
    if (this.#checkpoint!.underWay) {
      if (!this.#isFull()) return;
      await this.#flushed;
      if (!this.lifecycle.is('running')) return;
    }
    this.#schedule.asked = undefined;
    if (this.#isClean() && reason !== 'idle') {
      this.#calls.committed();
      return;
    }
    const settling = this.#state?.settle();
    if (settling !== undefined) {
      await settling;
      // Who ends it meanwhile takes its last checkpoint himself.
      if (!this.lifecycle.is('running')) return;
    }
    void this.#startCheckpoint(reason);
  }

  /** Freezes now; the promise settles with the flush and never rejects: a failure ends the actor. */
  #startCheckpoint(reason: CheckpointReason): Promise<void> {
    const processor = this.#processor!;
    this.#sendOutputs();
    const positions = positionsOf(this.#lanes);
    const commands = this.#calls.takeUncommitted();
    const contents = {
      reason,
      positions,
      eventClock: this.#eventClock!.ms,
      outputs: processor.commandOutputs.take(),
      commands: commands.map(({ call, result }) => ({ seq: call.seq, result })),
      records: this.#schedule.records,
      outputsSent: this.#early.sent,
      reset: this.#reset,
    };
    this.#reset = false;
    this.#schedule.frozen(positions);
    const run = this.#checkpoint!.run(contents, () => {
      for (const command of commands) command.resolve(command.result);
    });
    // Who asked before this freeze has what was asked for with its flush, also while newer records come in.
    const waiters = this.#calls.takeCommitWaiters();
    const done = run.then(
      () => {
        this.#schedule.done++;
        this.#flushed = undefined;
        for (const waiter of waiters) waiter.resolve(undefined);
        if (this.#isClean()) this.#calls.committed();
        else if (this.#calls.someoneWaitsForCommit) this.#schedule.asked = 'asked';
        this.#wakeUp.ring();
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
      this.#schedule.records === 0 &&
      this.#schedule.at === Infinity &&
      this.#checkpoint?.underWay !== true &&
      !this.#positionsMoved()
    );
  }

  #positionsMoved(): boolean {
    return this.#schedule.moved(this.#lanes);
  }

  /** At-least-once: what records emitted leaves now; the next checkpoint awaits the answer. */
  #sendOutputs(): void {
    const { outputs, commandOutputs } = this.#processor!;
    if (outputs !== commandOutputs) this.#early.send(outputs);
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
    this.#wakeUp.ring();
    const committed = wasRunning && commit && (await this.#commitWithin(deadline, 'Closing'));
    const outcome = committed || this.#quiet ? 'committed' : 'dropped';
    this.#abort.abort(new PartitaError('STOPPED', `The actor ${this.#where} was closed.`));
    await this.#whenOpeningSettled();
    await this.#release();
    if (this.lifecycle.is('closing')) this.lifecycle.move('closed');
    return { outcome };
  }

  /** Whether everything is committed in time. What is not will be processed again; the caller learns it from the outcome. */
  async #commitWithin(deadline: Deadline, what: string): Promise<boolean> {
    try {
      return await deadline.race(this.#commitAll(), `${what} ${this.#where}`);
    } catch (error) {
      this.#environment.logger.warn({ error, actor: this.#where }, 'ended without its last commit');
      return false;
    }
  }

  /** The record under way ends, then the layer in flight, then the live one. */
  async #commitAll(): Promise<boolean> {
    await this.#loop;
    await this.#flushed;
    // Too late for the deadline: the state is dropped already.
    if (this.#released !== undefined) return false;
    if (this.#failure === undefined && !this.#isClean()) await this.#startCheckpoint('close');
    return this.#failure === undefined;
  }

  /** Ends the actor with everything uncommitted; the manager hears of it and opens a new one. */
  async #fail(error: unknown): Promise<void> {
    if (this.#failure !== undefined || this.lifecycle.is('closed')) return;
    const failure = toPartitaError(error, this.#where);
    this.#failure = failure;
    this.#mark.none();
    const closing = this.lifecycle.is('closing');
    const recovering = this.lifecycle.is('recovering');
    if (!closing) this.lifecycle.move('failed');
    this.#abort.abort(failure);
    this.#dropUnstarted();
    this.#wakeUp.ring();
    if (closing) return;
    await this.#release();
    // While it recovers, the rejection of `recover` is the report.
    if (!recovering) this.#uplink.event({ type: 'failed', error: failure });
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
    this.#wakeUp.cancel();
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
    this.#unwatch();
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

  #restarted(outcome: CommandOutcome = 'notStarted'): PartitaError {
    return restartedError(this.#spec.id, outcome, this.#failure);
  }
}

function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
