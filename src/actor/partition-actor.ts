/**
 * The actor of one partition: it alone owns the partition's database, cache and transaction, from its opening to its end. Its
 * work is `processing-loop.ts`, beside which checkpoints (`checkpoint-coordinator.ts`) run. The actor never restarts itself:
 * what goes wrong ends it with everything uncommitted, and the manager opens a new one, which recovers (`state-recovery.ts`)
 * from what is committed.
 *
 * created ─► opening ─► recovering ─► running ─► parked ─► recovering | running
 * any ─► closing ─► closed;  any ─► failed ─► closed
 */
import { Deadline } from '../core/deadline.js';
import { PartitaError } from '../core/errors.js';
import { Lifecycle } from '../core/lifecycle.js';
import { actorLifecycle, type ActorState } from '../core/lifecycles.js';
import { unlessAborted } from '../core/unless-aborted.js';
import type {
  ActorApi,
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
  ParkedActor,
  QueryCall,
  RecoveredActor,
  ResumedActor,
  ResumeOptions,
} from '../threads/protocol.js';
import type { ActorEnvironment } from './actor-environment.js';
import { restartedError, toPartitaError } from './actor-errors.js';
import { CallMark } from './call-mark.js';
import { CallQueue, type CommandOutcome } from './call-queue.js';
import { CallWatchdog } from './call-watchdog.js';
import { CheckpointSchedule, positionsOf } from './checkpoint-schedule.js';
import { prepareWork, type Work } from './equipment.js';
import { openParts, type OpenedParts } from './opened-parts.js';
import type { ProcessingLoop } from './processing-loop.js';
import { NOTHING_PROCESSED } from './record-processor.js';
import { StateRecovery, type RecoveredState } from './state-recovery.js';
import { SuspectApproach } from './suspect-approach.js';
import { WakeUp } from './wake-up.js';

export class PartitionActor implements ActorApi {
  readonly lifecycle: Lifecycle<ActorState>;
  readonly #spec: ActorSpec;
  readonly #uplink: ActorUplink;
  readonly #environment: ActorEnvironment;
  readonly #where: string;
  readonly #mark: CallMark;
  readonly #watchdog: CallWatchdog;
  readonly #abort = new AbortController();
  readonly #calls = new CallQueue();
  #opened: OpenedParts | undefined;
  /** Over what was recovered last. */
  #work: Work | undefined;
  /** Settles when the loop has ended; never rejects. */
  #running: Promise<void> = Promise.resolve();
  #failure: PartitaError | undefined;
  #closed: Promise<ClosedActor> | undefined;
  #opening: Promise<OpenedActor> | undefined;
  #released: Promise<void> | undefined;
  readonly #wakeUp: WakeUp;
  readonly #schedule: CheckpointSchedule;
  readonly #approach: SuspectApproach | undefined;
  /** What chunks must carry; rises with every parking. */
  #epoch: number;
  #cacheBytes: number;
  /** Parked, with nothing under way and nothing uncommitted. */
  #quiet = false;
  #restoredRecords = 0;

  constructor(spec: ActorSpec, uplink: ActorUplink, environment: ActorEnvironment) {
    this.#spec = spec;
    this.#uplink = uplink;
    this.#environment = environment;
    this.#where = `${spec.id.stream}-${String(spec.id.partition)}`;
    this.lifecycle = new Lifecycle(actorLifecycle, `actor ${this.#where}`);
    this.#mark = new CallMark(spec.progress);
    this.#watchdog = new CallWatchdog(spec, this.#mark, environment, (error) => void this.#fail(error));
    this.#approach = spec.suspect === undefined ? undefined : new SuspectApproach(spec.suspect);
    this.#wakeUp = new WakeUp(environment.clock);
    this.#schedule = new CheckpointSchedule(spec, environment.clock);
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
      const work = this.#equip(recovered);
      // From here on a handler that does not settle in time ends the actor, and it alone.
      this.#watchdog.start();
      await this.#init();
      await this.#start(work, recovered);
      return this.#recoveredActor(startedAt, recovered);
    } catch (error) {
      throw await this.#abandon(error);
    }
  }

  process(chunk: Chunk): Promise<ChunkDone> {
    // Its end is reported with the real reason; a refused chunk would be taken for one.
    if (this.#isEnding()) return Promise.reject(this.#restarted());
    const lane = this.#work?.equipment.lanes.find((candidate) => candidate.spec.topic === chunk.topic);
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
    const { checkpoints } = this.#work!;
    await this.#calls.whenCommitted(() => checkpoints.isClean);
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
    this.#work?.equipment.state?.setCacheBytes(bytes);
    return Promise.resolve();
  }

  stats(): Promise<ActorStats> {
    const { processor, state, lanes = [] } = this.#work?.equipment ?? {};
    return Promise.resolve({
      ...(processor?.counts ?? NOTHING_PROCESSED),
      nullKeys: state?.events.nullKeys ?? 0,
      isClosingWindows: processor?.due?.pendingWindows === true,
      checkpoints: this.#schedule.done,
      commands: this.#calls.commands,
      queries: this.#calls.queries,
      cacheBytes: state?.cacheBytes ?? 0,
      restoredRecords: this.#restoredRecords,
      positions: Object.fromEntries(lanes.map((lane) => [lane.spec.topic, lane.position])),
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
    const parked = this.#work!;
    if (!verify) return this.#goOn(parked, 'unchanged', startedAt);
    this.lifecycle.move('recovering');
    try {
      const { lanes, state } = parked.equipment;
      const recovered = await this.#recovery().runAfterParking(positionsOf(lanes), () => {
        // Before the database changes: a query that is still under way must not see it half replayed.
        state?.discard();
      });
      this.#throwIfStopped();
      if (recovered === undefined) return this.#goOn(parked, 'verified', startedAt);
      parked.loop.retire();
      await this.#start(this.#equip(recovered), recovered);
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
    const opened = await openParts(this.#spec, this.#environment, this.#abort.signal);
    this.#opened = opened;
    // Closed meanwhile: `close` waits for this and gives the database back.
    this.#throwIfStopped();
    const { partition } = opened;
    return { storedOffset: partition?.offset, rebuild: partition?.mismatch?.message };
  }

  #recovery(): StateRecovery {
    return new StateRecovery({
      spec: this.#spec,
      uplink: this.#uplink,
      clock: this.#environment.clock,
      partition: this.#opened?.partition,
      signal: this.#abort.signal,
    });
  }

  /** Everything that records need, over what was recovered. */
  #equip(recovered: RecoveredState): Work {
    this.#restoredRecords = recovered.restoredRecords;
    this.#work = prepareWork(recovered, {
      spec: this.#spec,
      uplink: this.#uplink,
      clock: this.#environment.clock,
      signal: this.#abort.signal,
      lifecycle: this.lifecycle,
      opened: this.#opened!,
      cacheBytes: this.#cacheBytes,
      schedule: this.#schedule,
      calls: this.#calls,
      wakeUp: this.#wakeUp,
      mark: this.#mark,
      approach: this.#approach,
      onFailed: (error) => this.#fail(error),
      restarted: (outcome) => this.#restarted(outcome),
    });
    return this.#work;
  }

  /** The processor's own beginning; one that never ends is cut off with the actor. */
  async #init(): Promise<void> {
    const { definition, config } = this.#opened!;
    const { init } = definition;
    if (init === undefined) return;
    const { signal } = this.#abort;
    this.#mark.call();
    const initialised = init({ config, partition: this.#spec.id.partition, signal });
    this.#mark.pending();
    await unlessAborted(Promise.resolve(initialised), signal);
    this.#mark.none();
  }

  /** recovering → running; the starting positions are committed first. */
  async #start({ checkpoints, loop }: Work, { commitFirst, reset }: RecoveredState): Promise<void> {
    if (commitFirst) await checkpoints.start('asked', reset);
    if (this.#failure !== undefined) throw this.#failure;
    this.#throwIfStopped();
    this.#run(loop);
  }

  /** parked or recovering → running, with everything as it was. */
  #goOn({ equipment, loop }: Work, how: 'unchanged' | 'verified', startedAt: number): ResumedActor {
    for (const lane of equipment.lanes) lane.restart();
    this.#run(loop);
    return { ...this.#recoveredActor(startedAt), how };
  }

  #run(loop: ProcessingLoop): void {
    this.lifecycle.move('running');
    this.#running = loop.run().catch((error: unknown) => this.#fail(error));
  }

  #recoveredActor(startedAt: number, recovered?: RecoveredState): RecoveredActor {
    const { lanes } = this.#work!.equipment;
    return {
      positions: lanes.map(({ spec: { topic }, position }) => ({ topic, offset: position })),
      restoredRecords: recovered?.restoredRecords ?? 0,
      restoredBytes: recovered?.restoredBytes ?? 0,
      rebuilt: recovered?.rebuilt,
      durationMs: this.#environment.clock.monotonic() - startedAt,
    };
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
    const { checkpoints } = this.#work!;
    await this.#running;
    await checkpoints.flushed;
    // Too late for the deadline: the state is dropped already.
    if (this.#released !== undefined) return false;
    if (this.#failure === undefined && !checkpoints.isClean) await checkpoints.start('close');
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
    for (const lane of this.#work?.equipment.lanes ?? []) lane.drop(() => this.#restarted());
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
    this.#watchdog.stop();
    this.#calls.dropUncommitted((outcome) => this.#restarted(outcome));
    this.#work?.equipment.state?.discard();
    try {
      await this.#opened?.partition?.close();
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
