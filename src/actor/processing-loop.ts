/**
 * The loop of one actor: takes commands, queries, what has come due and records one after the other, lets checkpoints come in
 * between, and yields to the event loop every few milliseconds. It runs while the actor is running; whatever it rejects with
 * ends the actor. What a record or command does is `record-processor.ts`; when state is committed, `checkpoint-coordinator.ts`.
 */
import type { Clock } from '../core/clock.js';
import type { ActorSpec } from '../threads/protocol.js';
import type { CallMark } from './call-mark.js';
import type { PendingCall } from './call-queue.js';
import type { CheckpointCoordinator, CoordinatorOptions } from './checkpoint-coordinator.js';
import type { CheckpointSchedule } from './checkpoint-schedule.js';
import type { Equipment } from './equipment.js';
import { IdleTime } from './idle-time.js';
import { InputMerge } from './input-merge.js';
import type { RecordProcessor } from './record-processor.js';
import { poisonError, type SuspectApproach } from './suspect-approach.js';

/** The clock and the control lane are looked at after so many records. */
const RECORDS_PER_LOOK = 32;
/** Bytes of at-least-once outputs that may be unacknowledged before the loop waits. */
const OUTPUTS_IN_FLIGHT_MAX = 2 << 20;
/** Fewer bytes of them wait for the next bursts, a few at most, while there is more to process: each sending has its price. */
const OUTPUTS_SENT_MIN = 128 << 10;
const OUTPUT_BURSTS_MAX = 4;

export interface LoopOptions extends CoordinatorOptions {
  readonly clock: Clock;
  readonly mark: CallMark;
  readonly checkpoints: CheckpointCoordinator;
  /** To a record in which incarnations before this one have died. */
  readonly approach: SuspectApproach | undefined;
}

export class ProcessingLoop {
  readonly #options: LoopOptions;
  readonly #spec: ActorSpec;
  readonly #clock: Clock;
  readonly #mark: CallMark;
  readonly #schedule: CheckpointSchedule;
  readonly #checkpoints: CheckpointCoordinator;
  readonly #equipment: Equipment;
  readonly #processor: RecordProcessor;
  readonly #merge: InputMerge;
  readonly #idle: IdleTime | undefined;
  /** Records that had been processed when idleness was last looked at. */
  #idleRecords = 0;
  #retired = false;

  constructor(options: LoopOptions) {
    const { spec, clock, uplink, wakeUp, equipment } = options;
    this.#options = options;
    this.#spec = spec;
    this.#clock = clock;
    this.#mark = options.mark;
    this.#schedule = options.schedule;
    this.#checkpoints = options.checkpoints;
    this.#equipment = equipment;
    this.#processor = equipment.processor;
    this.#merge = new InputMerge(equipment.lanes, { spec, clock, uplink, wakeUp });
    const idle = equipment.state?.idle ?? [];
    this.#idle = idle.length === 0 ? undefined : new IdleTime(clock, idle);
  }

  /** Resolves when the actor does not run any more; rejects with what ends it. */
  async run(): Promise<void> {
    this.#merge.restart();
    this.#idle?.busy();
    const { calls, wakeUp } = this.#options;
    const checkpoints = this.#checkpoints;
    const { early } = checkpoints;
    const { outputs } = this.#processor;
    let bursts = 0;
    while (this.#isRunning()) {
      wakeUp.looking();
      if (calls.waiting) await this.#serveCalls();
      await checkpoints.startIfDue();
      if (!this.#isRunning()) return;
      const left = (await this.#runDue()) ? await this.#processSome() : true;
      const more = (this.#idle !== undefined && this.#passIdleTime(this.#idle)) || left;
      if (!more || ++bursts >= OUTPUT_BURSTS_MAX || outputs.bytes >= OUTPUTS_SENT_MIN) {
        bursts = 0;
        checkpoints.sendOutputs();
      }
      if (early.bytesInFlight > OUTPUTS_IN_FLIGHT_MAX) await early.sent;
      if (more || calls.waiting) await yieldToEventLoop();
      else await this.#sleep();
    }
  }

  /** The actor goes on with another loop, over another state. */
  retire(): void {
    this.#retired = true;
  }

  #isRunning(): boolean {
    return this.#options.lifecycle.is('running');
  }

  /** Whether there is more at hand. */
  #processSome(): Promise<boolean> {
    const { approach } = this.#options;
    return approach === undefined || approach.isOver ? this.#burst() : this.#approachSuspect(approach);
  }

  /** Processes records for at most `yieldMs`. Whether there are more at hand. */
  async #burst(): Promise<boolean> {
    const processor = this.#processor;
    const { due } = processor;
    const { lanes } = this.#equipment;
    const schedule = this.#schedule;
    const until = this.#clock.monotonic() + this.#spec.options.yieldMs;
    const stop = () => this.#mustLook(until);
    const single = lanes.length === 1 ? lanes[0]! : undefined;
    const mark = this.#mark;
    for (let look = 0; ; look++) {
      if (look === RECORDS_PER_LOOK) {
        look = 0;
        if (stop()) break;
      }
      const lane = single ?? this.#merge.next();
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
        if (!this.#isRunning()) return false;
      }
      if (due?.pending === true) {
        mark.call();
        const done = due.run(stop);
        if (done !== true && !(await this.#called(done))) return true;
        if (!this.#isRunning()) return false;
      }
      if (pending !== undefined && stop()) break;
    }
    mark.none();
    return true;
  }

  /** One record on the way to the suspect one, with the checkpoints that the way needs. Whether there may be more at hand. */
  async #approachSuspect(approach: SuspectApproach): Promise<boolean> {
    const processor = this.#processor;
    const schedule = this.#schedule;
    const { lanes } = this.#equipment;
    const lane = lanes.length === 1 ? lanes[0] : this.#merge.next();
    if (lane?.hasHead !== true) return false;
    const { offset } = lane.reader;
    const step = approach.step(lane.spec.topic, offset);
    if (step === 'over') return true;
    if (step !== 'go' && !(await this.#checkpoints.commitAll('suspect'))) return false;
    this.#mark.record(lane.index, offset);
    const pending =
      step === 'refuse'
        ? processor.refuse(lane, poisonError(this.#spec.id, this.#spec.suspect!))
        : processor.process(lane);
    schedule.records++;
    if (schedule.at === Infinity) schedule.becomeDirty();
    await this.#called(pending);
    if (!this.#isRunning()) return false;
    if (step === 'go' || step === 'commit') return true;
    approach.isOver = true;
    return this.#checkpoints.commitAll('suspect');
  }

  /** What is due by wall-clock, then what is due by event time. Whether all of it is done. */
  async #runDue(): Promise<boolean> {
    const { due, dueByWallClock } = this.#processor;
    const until = this.#clock.monotonic() + this.#spec.options.yieldMs;
    const stop = () => this.#mustLook(until);
    for (const runner of [dueByWallClock, due]) {
      if (runner?.pending !== true) continue;
      this.#mark.call();
      const done = await this.#called(runner.run(stop));
      if (!this.#isRunning()) return false;
      this.#noteChanges();
      if (!done) return false;
    }
    return true;
  }

  /** Whether windows have been closed by idleness alone, and are to be emitted now. */
  #passIdleTime(idle: IdleTime): boolean {
    const { records, due } = this.#processor;
    if (records !== this.#idleRecords || !this.#equipment.lanes.every((lane) => lane.isAtEnd)) {
      this.#idleRecords = records;
      idle.busy();
      return false;
    }
    idle.idle();
    this.#noteChanges();
    return due?.pending === true;
  }

  /** What came due has changed something: a checkpoint will take it along. */
  #noteChanges(): void {
    const schedule = this.#schedule;
    if (schedule.at === Infinity && (this.#equipment.state?.dirtyCount ?? 0) > 0) schedule.becomeDirty();
  }

  /** Calls wait, the layer is full, or the time is up. */
  #mustLook(until: number): boolean {
    return this.#options.calls.waiting || this.#checkpoints.isFull || this.#clock.monotonic() >= until;
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

  /** Commands in order, and the queries that came in between. */
  async #serveCalls(): Promise<void> {
    const { calls } = this.#options;
    for (let call = calls.next(); call !== undefined; call = calls.next()) {
      const pending = call.kind === 'query' ? this.#query(call) : this.#command(call);
      if (pending !== undefined) await pending;
      if (!this.#isRunning() || this.#checkpoints.isFull) return;
    }
  }

  /** Begins a query. What is returned must be waited for; other long ones go on beside the records. */
  #query(call: Extract<PendingCall, { kind: 'query' }>): Promise<void> | undefined {
    const { partition } = this.#equipment;
    this.#mark.call();
    const answered = this.#processor.calls.query(call.call).then(call.resolve, (error: unknown) => {
      // Under an actor that ended it saw the end of its state; the next actor can answer it.
      const goesOn = this.#isRunning() && !this.#retired;
      call.reject(goesOn ? error : this.#options.restarted('notStarted'));
      // Damage that a query meets is there for records too: the next actor rebuilds the database, or says CORRUPT.
      const damage = partition?.damage;
      if (goesOn && damage !== undefined) void this.#options.onFailed(damage);
    });
    // A handler that awaits could leave a record half done under a query's eyes: then they take turns.
    if (this.#processor.asyncHandlers) return this.#called(answered);
    this.#mark.none();
    return undefined;
  }

  async #command(call: Extract<PendingCall, { kind: 'command' }>): Promise<void> {
    const schedule = this.#schedule;
    this.#mark.command(call.call.seq);
    try {
      const result = await this.#called(this.#processor.calls.command(call.call));
      this.#options.calls.commandDone(call, result);
    } catch (error) {
      call.reject(error);
      if (this.#equipment.state?.failure !== undefined) throw error;
    }
    if (schedule.at === Infinity) schedule.becomeDirty();
    if (call.call.ack === 'committed') schedule.dueWithin(this.#spec.options.commandLingerMs);
  }

  async #sleep(): Promise<void> {
    const { wakeUp } = this.#options;
    if (wakeUp.rung || !this.#isRunning()) return;
    const { at, idleAt } = this.#schedule;
    if (at !== Infinity && !this.#checkpoints.underWay) wakeUp.ringAt(at);
    else if (this.#checkpoints.positionsMoved) wakeUp.ringAt(idleAt);
    if (this.#idle !== undefined && this.#idle.dueAt !== Infinity) wakeUp.ringAt(this.#idle.dueAt);
    const wall = this.#processor.dueByWallClock?.nextMs ?? Infinity;
    if (wall !== Infinity) wakeUp.ringAt(this.#clock.monotonic() + Math.max(0, wall - this.#clock.now()));
    await wakeUp.sleep();
  }
}

function yieldToEventLoop(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
