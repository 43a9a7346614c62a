/**
 * What the group says, and what becomes of it: assigned partitions get keepers, revoked ones are committed and parked (or
 * closed) under one budget, lost ones dropped. Owns the keepers and the calls of every partition. Fetched chunks pass
 * through to the router. It never asks the group for anything.
 */
import type { Clock } from '../core/clock.js';
import type { Deadline } from '../core/deadline.js';
import { PartitaError } from '../core/errors.js';
import type { Emitter } from '../core/emitter.js';
import type { PartitionBounds, TopicPartition } from '../core/log-types.js';
import type { Logger } from '../core/logger.js';
import type { Assignment, FetchedChunk, GroupMember, GroupSession } from '../log/log-client.js';
import type { ClosedActor } from '../threads/protocol.js';
import { assignedActors, type AssignedActor } from './assigned-actors.js';
import { CacheBudget } from './cache-budget.js';
import type { ManagerEvents } from './events.js';
import type { KeeperEnvironment } from './keeper-environment.js';
import { failedError, KeeperReports, type KeeperReportsListener } from './keeper-reports.js';
import type { ResolvedOptions } from './options.js';
import type { Membership } from './parking.js';
import { PartitionCalls } from './partition-calls.js';
import { PartitionKeeper } from './partition-keeper.js';
import type { TopicIds } from './present-topics.js';
import { partitionKey, type StreamPlan } from './stream-plan.js';

export interface AssignmentListener extends KeeperReportsListener {
  /** The group rebalances: partitions are being given back. */
  onRebalancing(): void;
  onAssigned(): void;
}

export interface GroupAssignmentOptions {
  readonly plans: readonly StreamPlan[];
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly emitter: Emitter<ManagerEvents>;
  readonly listener: AssignmentListener;
  /** Everything of KeeperEnvironment that is not this class's own. */
  readonly environment: Omit<KeeperEnvironment, 'nextEpoch' | 'cacheBytes'>;
}

/** The barrier's end is the log's; so much is left for the answers to get through. */
const BARRIER_MARGIN_MS = 250;

export class GroupAssignment implements GroupMember {
  readonly #options: GroupAssignmentOptions;
  readonly #streamOf = new Map<string, StreamPlan>();
  readonly #keepers = new Map<string, PartitionKeeper>();
  readonly #calls = new Map<string, PartitionCalls>();
  readonly #environment: KeeperEnvironment;
  readonly #cache: CacheBudget;
  readonly #reports: KeeperReports;
  #session: GroupSession | undefined;
  #assigned = false;
  /** Of the last assignment, until the membership is lost. */
  #membership: Membership | undefined;
  #epoch = 0;
  #closed: (() => Error) | undefined;
  /** Out of the group: everything is somebody else's. */
  #left = false;
  #stopDeadline: Deadline | undefined;
  #dropped = false;

  constructor(options: GroupAssignmentOptions) {
    this.#options = options;
    for (const plan of options.plans) for (const { topic } of plan.inputs) this.#streamOf.set(topic, plan);
    const budgetBytes = options.options.memory.cacheMb * 1024 * 1024;
    this.#cache = new CacheBudget(budgetBytes, options.logger, () => this.keepers());
    this.#environment = {
      ...options.environment,
      nextEpoch: () => ++this.#epoch,
      cacheBytes: () => this.#cache.share,
    };
    this.#reports = new KeeperReports({
      onPartitionFailed: options.options.onPartitionFailed,
      logger: options.logger,
      emitter: options.emitter,
      cache: this.#cache,
      manager: options.listener,
      onLost: ({ plan, partition }) => {
        this.calls(plan, partition).reject(() => this.#notOwned(plan, partition));
      },
      onDown: (keeper) => {
        this.calls(keeper.plan, keeper.partition).reject(() => failedError(keeper));
      },
    });
  }

  /** The keepers of the partitions that are this member's now. */
  keepers(): PartitionKeeper[] {
    return [...this.#keepers.values()].filter((keeper) => !keeper.stopped);
  }

  keeper(stream: string, partition: number): PartitionKeeper | undefined {
    const keeper = this.#keepers.get(partitionKey(stream, partition));
    return keeper?.stopped === false ? keeper : undefined;
  }

  /** Whether the group has assigned something, be it nothing, since the last revocation. */
  get assigned(): boolean {
    return this.#assigned;
  }

  use(session: GroupSession): void {
    this.#session = session;
  }

  /** Why there is no keeper of the partition: nobody has it, or somebody else. */
  absent(stream: string, partition: number): PartitaError {
    const plan = this.#options.plans.find((candidate) => candidate.stream === stream);
    const exists = Number.isInteger(partition) && partition >= 0 && partition < (plan?.partitions ?? 0);
    if (plan !== undefined && exists) return this.#notOwned(plan, partition);
    return new PartitaError('INVALID_ARGUMENT', `There is no partition ${stream}-${partition}.`, {
      details: { stream, partition },
    });
  }

  /** The calls of a partition, whoever owns it: those of others are rejected with their owner's address. */
  calls(plan: StreamPlan, partition: number): PartitionCalls {
    const key = partitionKey(plan.stream, partition);
    let calls = this.#calls.get(key);
    if (calls === undefined) {
      const { clock, options } = this.#options;
      calls = new PartitionCalls({
        stream: plan.stream,
        partition,
        clock,
        callsMax: options.mailbox.callsMax,
        waitMs: options.mailbox.waitMs,
      });
      this.#calls.set(key, calls);
      if (this.#closed !== undefined) calls.reject(this.#closed);
      else if (this.#left) calls.reject(() => this.#notOwned(plan, partition));
      else if (this.#assigned && this.keeper(plan.stream, partition) === undefined)
        calls.reject(() => this.#notOwned(plan, partition));
    }
    return calls;
  }

  // ── GroupMember ────────────────────────────────────────────────────────────────────────────────────────────────────

  onAssign(assignment: Assignment): void {
    const owned = [...assignment.gained, ...assignment.kept];
    this.#assigned = true;
    const mine = this.#actorsOf(owned);
    this.#membership = { memberId: assignment.memberId, generation: assignment.generation };
    const topicIds = once(() => this.#topicIds());
    for (const { plan, partition } of mine) this.#keep(plan, partition, this.#membership, topicIds);
    this.#rejectForeign(mine);
    this.#cache.redivide();
    this.#options.emitter.emit('assigned', { partitions: owned });
    this.#options.listener.onAssigned();
  }

  async onRevoke(
    partitions: readonly TopicPartition[],
    barrier: { readonly deadline: number },
  ): Promise<void> {
    const { options, clock, listener, emitter } = this.#options;
    this.#assigned = false;
    listener.onRebalancing();
    const untilDeadline = barrier.deadline - clock.now() - BARRIER_MARGIN_MS;
    const untilStopped = this.#stopDeadline?.remainingMs ?? Infinity;
    const budgetMs = Math.max(0, Math.min(options.revokeBudgetMs, untilDeadline, untilStopped));
    const membership = this.#membership;
    // Leaving ends everything; otherwise what is committed may stay where it is.
    const parks = options.parkMs > 0 && this.#stopDeadline === undefined && membership !== undefined;
    const outcomes = await this.#each(partitions, (keeper) =>
      parks ? keeper.park({ commit: true, budgetMs }, membership) : keeper.stop({ commit: true, budgetMs }),
    );
    const committed = outcomes.every((outcome) => outcome === 'committed');
    if (!committed) this.#dropped = true;
    emitter.emit('revoked', { partitions, committed });
  }

  onLost(partitions: readonly TopicPartition[]): void {
    const { options, listener, emitter, logger } = this.#options;
    this.#assigned = false;
    listener.onRebalancing();
    for (const { plan, partition } of this.#actorsOf(partitions))
      this.calls(plan, partition).reject(() => this.#notOwned(plan, partition));
    this.#membership = undefined;
    // A parked actor holds nothing uncommitted; it asks the log before it serves again.
    this.#each(partitions, (keeper) =>
      keeper.parked
        ? Promise.resolve('committed' as const)
        : keeper.stop({ commit: false, budgetMs: options.revokeBudgetMs }),
    ).catch((error: unknown) => {
      logger.error({ err: error }, 'Lost partitions could not be closed.');
    });
    emitter.emit('lost', { partitions });
  }

  onChunk(chunk: FetchedChunk): void {
    this.#options.environment.router.deliver(chunk);
  }

  onOutOfRange(at: TopicPartition, bounds: PartitionBounds): void {
    const plan = this.#streamOf.get(at.topic);
    if (plan === undefined) return;
    // The next incarnation's recovery meets it again and applies `onOutOfRange`.
    this.keeper(plan.stream, at.partition)?.fail(
      new PartitaError(
        'OFFSET_OUT_OF_RANGE',
        `The position in ${at.topic}-${at.partition} is outside its bounds ${bounds.start} to ${bounds.end}.`,
        { details: { ...at, bounds } },
      ),
      true,
    );
  }

  onFatal(error: Error): void {
    this.#options.listener.onFatal(error);
  }

  // ── for the manager ────────────────────────────────────────────────────────────────────────────────────────────────

  /** Closes what the barrier of leaving has not closed. Resolves when every keeper is done. */
  async close(makeError: () => Error, budgetMs: number): Promise<void> {
    this.#closed = makeError;
    await Promise.all(
      [...this.#keepers.values()].map(async (keeper) => {
        const serves = keeper.state === 'running' && !keeper.stopped;
        const outcome = await keeper.stop({ commit: false, budgetMs });
        if (serves && outcome === 'dropped') this.#dropped = true;
      }),
    );
    for (const calls of this.#calls.values()) calls.reject(makeError);
  }

  /** Before leaving: new calls are refused, and the barrier of leaving ends by the deadline. */
  prepareToStop(makeError: () => Error, deadline: Deadline): void {
    this.#closed = makeError;
    this.#stopDeadline = deadline;
    // What a revocation before has dropped was processed again since.
    this.#dropped = false;
  }

  /** Before leaving for a failed partition: the barrier of leaving ends by the deadline, and nothing is parked. */
  prepareToLeave(deadline: Deadline): void {
    this.#stopDeadline = deadline;
    this.#dropped = false;
  }

  /** After leaving: what the barrier has not closed is closed, and every call is told that the partition is not here. */
  async leave(budgetMs: number): Promise<void> {
    this.#left = true;
    const everything = this.#options.plans.flatMap((plan) =>
      Array.from({ length: plan.partitions }, (_, partition) => ({ plan, partition })),
    );
    for (const { plan, partition } of everything)
      this.#calls.get(partitionKey(plan.stream, partition))?.reject(() => this.#notOwned(plan, partition));
    await Promise.all([...this.#keepers.values()].map((keeper) => keeper.stop({ commit: false, budgetMs })));
  }

  /** Tries a failed partition again: its calls wait for it. Does nothing for one that has not failed. */
  reopen(keeper: PartitionKeeper): void {
    if (keeper.state !== 'failed') return;
    this.calls(keeper.plan, keeper.partition).admit();
    keeper.reopen();
  }

  /** Whether the last revocations dropped what had been processed, which will be processed again. */
  get dropped(): boolean {
    return this.#dropped;
  }

  // ── inside ─────────────────────────────────────────────────────────────────────────────────────────────────────────

  #keep(
    plan: StreamPlan,
    partition: number,
    membership: Membership,
    topicIds: () => Promise<TopicIds>,
  ): void {
    const key = partitionKey(plan.stream, partition);
    const previous = this.#keepers.get(key);
    const calls = this.calls(plan, partition);
    if (previous?.parked === true) {
      calls.admit();
      previous.resume(membership, topicIds);
      return;
    }
    if (previous?.stopped === false && previous.state !== 'lost' && !previous.leaving) return;
    calls.admit();
    const before =
      previous === undefined
        ? Promise.resolve()
        : previous.stop({ commit: false, budgetMs: 0 }).then(() => {
            // A commit that the previous one left in doubt may since have been covered by another member's.
            calls.decided('unknown');
          });
    this.#keepers.set(
      key,
      new PartitionKeeper(plan, partition, calls, this.#environment, this.#reports, before, previous?.place),
    );
  }

  /** Of all inputs and changelogs, with one question for all partitions. */
  async #topicIds(): Promise<TopicIds> {
    const topics = this.#options.plans.flatMap(({ inputs, changelog }) =>
      [...inputs, ...(changelog === undefined ? [] : [changelog])].map(({ topic }) => topic),
    );
    const described = await this.#options.environment.log.topics.describe(topics);
    return new Map(topics.map((topic, i) => [topic, described[i]?.topicId]));
  }

  #each(
    partitions: readonly TopicPartition[],
    end: (keeper: PartitionKeeper) => Promise<ClosedActor['outcome']>,
  ): Promise<ClosedActor['outcome'][]> {
    const ends: Promise<ClosedActor['outcome']>[] = [];
    for (const { plan, partition } of this.#actorsOf(partitions)) {
      const keeper = this.keeper(plan.stream, partition);
      if (keeper !== undefined) ends.push(end(keeper));
    }
    return Promise.all(ends);
  }

  #actorsOf(partitions: readonly TopicPartition[]): AssignedActor[] {
    return assignedActors(partitions, this.#streamOf, (error) => {
      this.#options.listener.onFatal(error);
    });
  }

  /** What is not among the assigned is somebody else's: calls are told so, and a parked actor gives way. */
  #rejectForeign(mine: readonly AssignedActor[]): void {
    const own = new Set(mine.map(({ plan, partition }) => partitionKey(plan.stream, partition)));
    for (const plan of this.#options.plans)
      for (let partition = 0; partition < plan.partitions; partition++) {
        const key = partitionKey(plan.stream, partition);
        if (own.has(key)) continue;
        this.#calls.get(key)?.reject(() => this.#notOwned(plan, partition));
        const keeper = this.#keepers.get(key);
        if (keeper?.parked === true)
          void keeper.stop({ commit: false, budgetMs: this.#options.options.revokeBudgetMs });
      }
  }

  #notOwned(plan: StreamPlan, partition: number): PartitaError {
    const owner = this.#session?.ownerOf({ topic: plan.inputs[0]!.topic, partition });
    return new PartitaError(
      'PARTITION_NOT_OWNED',
      `The partition ${plan.stream}-${partition} belongs to ${owner ?? 'another member of the group'}.`,
      { details: { stream: plan.stream, partition, owner } },
    );
  }
}

/** The one answer of `ask`, which is called when somebody wants to know. */
function once<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => (answer ??= ask());
}
