/**
 * What one incarnation of an actor may ask of the log: ownership before init, its transactional producer, committed
 * offsets, bounds, pages of the changelog, commits, outputs. Owns the producer and the commits under way. Once retired, or
 * in the hands of a later incarnation, it writes nothing any more.
 */
import { setMaxListeners } from 'node:events';
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { describeError, PartitaError } from '../core/errors.js';
import type {
  CommitOutcome,
  CommittedOffset,
  LogBatch,
  LogPage,
  OffsetCommit,
  PartitionBounds,
  TopicPartition,
} from '../core/log-types.js';
import { transactionalId } from '../core/names.js';
import { unlessAborted } from '../core/unless-aborted.js';
import type { GroupSession, LogClient, OutputProducer, TransactionalProducer } from '../log/log-client.js';
import type { ActorCommit, ActorEvent, ActorSpec, ActorUplink, OutputSpec } from '../threads/protocol.js';

/** A commit whose answer was lost: only the next init of the id, and what is committed then, tell. */
export interface CommitInDoubt {
  readonly offsets: readonly OffsetCommit[];
  readonly commands: ActorCommit['commands'];
}

export interface UplinkListener {
  /** The log has committed: its commands are done, whatever becomes of the actor. */
  onCommitted(commit: CommitInDoubt): void;
  onEvent(event: ActorEvent): void;
  /** The inherited commit in doubt is settled; commands of it that were not reported committed ended so. */
  onDecided(outcome: 'notApplied' | 'unknown'): void;
  /** The group says that the partition is not ours any more. */
  onNotOwned(error: PartitaError): void;
}

export interface UplinkOptions {
  readonly log: LogClient;
  readonly session: GroupSession;
  readonly outputs: () => OutputProducer;
  readonly clock: Clock;
  readonly transactionTimeoutMs: number;
  readonly sessionTimeoutMs: number;
  /** A commit of the previous incarnation that this one's init settles. */
  readonly inherited: CommitInDoubt | undefined;
  readonly listener: UplinkListener;
}

const OWNERSHIP_RETRY_MS = 200;

export class PartitionUplink implements ActorUplink {
  readonly #spec: ActorSpec;
  readonly #options: UplinkOptions;
  readonly #inputs: readonly TopicPartition[];
  readonly #underWay = new Set<Promise<unknown>>();
  /** Outputs that are not sent yet when the incarnation ends are not sent at all. */
  readonly #ending = new AbortController();
  #producer: TransactionalProducer | undefined;
  #retired = false;
  /** What must come out well before the next commit. */
  #held: Promise<void> | undefined;
  #inDoubt: CommitInDoubt | undefined;
  /** Handed to the log and not answered. */
  #committing: CommitInDoubt | undefined;

  constructor(spec: ActorSpec, options: UplinkOptions) {
    this.#spec = spec;
    this.#options = options;
    // Every produce under way listens.
    setMaxListeners(0, this.#ending.signal);
    this.#inDoubt = options.inherited;
    this.#inputs = spec.inputs.map(({ topic }) => ({ topic, partition: spec.id.partition }));
  }

  /** A commit that nobody has settled yet, if any. */
  get inDoubt(): CommitInDoubt | undefined {
    return this.#inDoubt;
  }

  async init(): Promise<void> {
    this.#expectCurrent();
    await this.#expectOwned();
    await this.#closeProducer();
    this.#expectCurrent();
    const { stream, partition } = this.#spec.id;
    const producer = this.#options.log.producer({
      transactionalId: transactionalId(this.#spec.group, stream, partition),
      transactionTimeoutMs: this.#options.transactionTimeoutMs,
    });
    this.#producer = producer;
    await this.#track(producer.init());
    await this.#settleDoubt();
  }

  async committed(): Promise<readonly (CommittedOffset | undefined)[]> {
    this.#expectCurrent();
    return this.#options.log.committed(this.#spec.group, this.#inputs);
  }

  async inputBounds(): Promise<readonly PartitionBounds[]> {
    this.#expectCurrent();
    return this.#options.log.topics.bounds(this.#inputs);
  }

  async changelogBounds(): Promise<PartitionBounds> {
    this.#expectCurrent();
    const [bounds] = await this.#options.log.topics.bounds([this.#changelog()]);
    if (bounds === undefined)
      throw new PartitaError('TOPIC_MISSING', `The changelog ${this.#changelog().topic} gave no bounds.`);
    return bounds;
  }

  async readChangelog(request: { readonly from: number; readonly maxBytes: number }): Promise<LogPage> {
    this.#expectCurrent();
    return this.#options.log.read({
      ...this.#changelog(),
      from: request.from,
      maxBytes: request.maxBytes,
      isolation: 'read_committed',
    });
  }

  /** No commit until the check has come out well; if it rejects, there is none any more. */
  holdCommits(check: Promise<void>): void {
    this.#held = check;
    check.catch(() => undefined);
  }

  async commit(request: ActorCommit): Promise<CommitOutcome> {
    if (this.#held !== undefined)
      try {
        await this.#held;
        this.#held = undefined;
      } catch (error) {
        return { kind: 'fenced', reason: describeError(error) };
      }
    const producer = this.#producer;
    if (this.#retired || producer === undefined)
      return { kind: 'fenced', reason: `a later incarnation of ${this.#name()} has taken over` };
    const commit = { offsets: request.offsets, commands: request.commands };
    this.#committing = commit;
    const outcome = await this.#track(
      producer.commitTransaction({
        batches: request.batches,
        group: this.#spec.group,
        offsets: request.offsets,
      }),
    );
    this.#committing = undefined;
    // Acknowledged here, at the commit: even if the actor dies before it hears of it, this has happened.
    if (outcome.kind === 'committed') this.#options.listener.onCommitted(commit);
    if (outcome.kind === 'inDoubt') this.#inDoubt = commit;
    return outcome;
  }

  async describeTopic(topic: string): Promise<OutputSpec | undefined> {
    this.#expectCurrent();
    const [found] = await this.#options.log.topics.describe([topic]);
    return found === undefined
      ? undefined
      : { output: topic, topic, partitions: found.partitions, limits: found.limits };
  }

  async produce(batches: readonly LogBatch[]): Promise<void> {
    this.#expectCurrent();
    await this.#track(this.#options.outputs().produce(batches, { signal: this.#ending.signal }));
  }

  event(event: ActorEvent): void {
    if (!this.#retired) this.#options.listener.onEvent(event);
  }

  /**
   * Nothing more is written by this incarnation. Resolves when what was under way has been answered; rejects after the
   * transaction timeout, from when on the log refuses it, or when nobody waits for it any more.
   */
  async retire(givesUp: AbortSignal): Promise<void> {
    this.#retired = true;
    this.#ending.abort();
    const settled = Promise.allSettled([...this.#underWay]);
    const { clock, transactionTimeoutMs } = this.#options;
    const deadline = Deadline.after(clock, transactionTimeoutMs);
    try {
      await deadline.race(unlessAborted(settled, givesUp), `What ${this.#name()} had under way`);
    } finally {
      // Still not answered: it may have happened all the same, which the next init of the id settles.
      this.#inDoubt ??= this.#committing;
      await this.#closeProducer();
    }
  }

  /** Ownership is asked before every init, so that a stale member never fences the rightful owner for long. */
  async #expectOwned(): Promise<void> {
    const { clock, session, sessionTimeoutMs } = this.#options;
    const deadline = Deadline.after(clock, sessionTimeoutMs);
    for (;;) {
      this.#expectCurrent();
      const answer = await session.owns(this.#inputs[0]!);
      if (answer === 'yes') return;
      if (answer === 'no' || deadline.expired) {
        const error = new PartitaError(
          'PARTITION_NOT_OWNED',
          answer === 'no'
            ? `${this.#name()} is not this member's any more.`
            : `The group did not say within ${sessionTimeoutMs} ms whether ${this.#name()} is still this member's.`,
          { details: { ...this.#spec.id } },
        );
        this.#options.listener.onNotOwned(error);
        throw error;
      }
      await clock.sleep(Math.min(OWNERSHIP_RETRY_MS, deadline.remainingMs), this.#ending.signal);
    }
  }

  /** After an init the log knows whether the commit in doubt happened: its offsets carry the checkpoint's number. */
  async #settleDoubt(): Promise<void> {
    const doubt = this.#inDoubt;
    if (doubt === undefined) return;
    const expected = doubt.offsets[0];
    // Without our metadata the offsets don't tell one commit from another.
    const tellable = expected !== undefined && expected.metadata !== '';
    if (tellable) {
      const [committed] = await this.#options.log.committed(this.#spec.group, [expected]);
      if (committed?.offset === expected.offset && committed.metadata === expected.metadata)
        this.#options.listener.onCommitted(doubt);
    }
    this.#options.listener.onDecided(tellable ? 'notApplied' : 'unknown');
    this.#inDoubt = undefined;
  }

  #changelog(): TopicPartition {
    const changelog = this.#spec.changelog;
    if (changelog === undefined) throw new PartitaError('ILLEGAL_STATE', `${this.#name()} has no changelog.`);
    return { topic: changelog.topic, partition: this.#spec.id.partition };
  }

  #expectCurrent(): void {
    if (this.#retired)
      throw new PartitaError('FENCED', `A later incarnation of ${this.#name()} has taken over.`, {
        details: { ...this.#spec.id, epoch: this.#spec.epoch },
      });
  }

  #name(): string {
    return `${this.#spec.id.stream}-${this.#spec.id.partition}`;
  }

  async #track<T>(work: Promise<T>): Promise<T> {
    this.#underWay.add(work);
    try {
      return await work;
    } finally {
      this.#underWay.delete(work);
    }
  }

  async #closeProducer(): Promise<void> {
    const producer = this.#producer;
    this.#producer = undefined;
    await producer?.close();
  }
}
