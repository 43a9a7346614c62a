/**
 * What all clients of one embedded log share: topics, offsets, transactions and groups over one storage, changed one
 * operation at a time. `embedded-client.ts` is a client's view of it, `embedded-log.ts` the user's.
 */
import { randomUUID } from 'node:crypto';

import type { Clock } from '../../core/clock.js';
import { PartitaError } from '../../core/errors.js';
import type { LogBatch, LogPage, TopicPartition } from '../../core/log-types.js';
import type { ReadRequest, TopicSpec } from '../log-client.js';
import { AppendPlan, type Appended, checkBatches } from './append-plan.js';
import { GroupCoordinator } from './group-coordinator.js';
import { type LogStorage, type OffsetRow, type StorageBatch, copyOut } from './log-storage.js';
import { OffsetTable } from './offset-table.js';
import type { BatchEntry, PartitionLog, ProducerStamp } from './partition-log.js';
import { Sequencer } from './sequencer.js';
import { checkTopic, topicConfig } from './topic-config.js';
import { type Topic, TopicRegistry } from './topic-registry.js';
import { TransactionCoordinator } from './transaction-coordinator.js';

export class Broker {
  readonly clock: Clock;
  readonly storage: LogStorage;
  readonly sequencer = new Sequencer();
  readonly topics = new TopicRegistry();
  readonly offsets = new OffsetTable();
  readonly transactions: TransactionCoordinator;
  readonly #groups = new Map<string, GroupCoordinator>();
  readonly #topicDefaults: Readonly<Record<string, string>>;
  #closed = false;

  constructor(clock: Clock, storage: LogStorage, topicDefaults: Readonly<Record<string, string>>) {
    this.clock = clock;
    this.storage = storage;
    this.#topicDefaults = topicDefaults;
    this.transactions = new TransactionCoordinator(this);
  }

  /** Takes over what an earlier run left. */
  async restore(): Promise<void> {
    const stored = await this.storage.stored();
    for (const row of stored.topics) {
      const { logs } = this.topics.put(row, topicConfig(row.topic, row.configs, this.#topicDefaults));
      for (const log of logs) await stored.restore(log);
    }
    for (const row of stored.offsets) this.offsets.set(row);
    this.transactions.restore(stored.transactionals, stored.nextProducerId);
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** @throws PartitaError LOG_CLOSED */
  expectOpen(): void {
    if (this.#closed) throw new PartitaError('LOG_CLOSED', 'The embedded log has been closed.');
  }

  group(group: string): GroupCoordinator {
    let coordinator = this.#groups.get(group);
    if (coordinator === undefined) {
      coordinator = new GroupCoordinator(
        group,
        this.clock,
        (topic) => this.topics.find(topic)?.row.partitions ?? 0,
      );
      this.#groups.set(group, coordinator);
    }
    return coordinator;
  }

  /** @throws PartitaError TOPIC_EXISTS, unless `reuse` is set, and TOPIC_INVALID */
  async createTopic(spec: TopicSpec, reuse: boolean): Promise<Topic> {
    this.expectOpen();
    checkTopic(spec.topic, spec.partitions);
    const config = topicConfig(spec.topic, spec.configs, this.#topicDefaults);
    return this.sequencer.run(async () => {
      const existing = this.topics.find(spec.topic);
      if (existing !== undefined && reuse) return existing;
      if (existing !== undefined)
        throw new PartitaError('TOPIC_EXISTS', `The topic ${spec.topic} exists already.`, {
          details: { topic: spec.topic },
        });
      const { topic, partitions, configs = {} } = spec;
      const created = await this.#putTopic({ topic, topicId: randomUUID(), partitions, configs }, config);
      // Members may have subscribed to a topic of this name that was deleted.
      for (const group of this.#groups.values()) group.topicChanged(topic);
      return created;
    });
  }

  /** More partitions for a topic, as an operator may give it; its groups are rebalanced. */
  async addPartitions(name: string, partitions: number): Promise<Topic> {
    this.expectOpen();
    return this.sequencer.run(async () => {
      const { row, config } = this.topics.topic(name);
      checkTopic(name, partitions);
      if (partitions < row.partitions)
        throw new PartitaError(
          'TOPIC_INVALID',
          `The topic ${name} can't have fewer than ${row.partitions} partitions.`,
        );
      const topic = await this.#putTopic({ ...row, partitions }, config);
      for (const group of this.#groups.values()) group.topicChanged(name);
      return topic;
    });
  }

  /** Changes configs of a topic, as an operator may. */
  async alterTopic(name: string, configs: Readonly<Record<string, string>>): Promise<Topic> {
    this.expectOpen();
    return this.sequencer.run(async () => {
      const { row } = this.topics.topic(name);
      const changed = { ...row, configs: { ...row.configs, ...configs } };
      return this.#putTopic(changed, topicConfig(name, changed.configs, this.#topicDefaults));
    });
  }

  async #putTopic(row: Topic['row'], config: Topic['config']): Promise<Topic> {
    const batch = this.storage.batch();
    batch.putTopic(row);
    await batch.write();
    return this.topics.put(row, config);
  }

  /** The topic, its records and the offsets committed for it. */
  async deleteTopic(name: string): Promise<void> {
    this.expectOpen();
    await this.sequencer.run(async () => {
      const { row, logs } = this.topics.topic(name);
      const offsets = this.offsets.ofTopic(name);
      const batch = this.storage.batch();
      this.transactions.forgetTopic(name, batch);
      for (const log of logs) batch.deletePartition(log);
      for (const offset of offsets) batch.deleteOffset(offset);
      batch.deleteTopic(row);
      await batch.write();
      for (const offset of offsets) this.offsets.delete(offset);
      this.topics.remove(name);
      for (const group of this.#groups.values()) group.topicChanged(name);
    });
  }

  /**
   * Appends batches with the producer that they carry, one result per batch. The bytes belong to the log afterwards.
   * What carries no producer is appended as a whole or not at all.
   */
  async append(batches: readonly LogBatch[]): Promise<readonly Appended[]> {
    this.expectOpen();
    return this.sequencer.run(async () => {
      const now = this.clock.now();
      const checked = batches.flatMap((batch) =>
        checkBatches(this.topics.topic(batch.topic), this.topics.partition(batch), batch, now),
      );
      for (const { header, log } of checked)
        if (header.isTransactional)
          throw new PartitaError(
            'POLICY_VIOLATION',
            `A transactional batch for ${log.topic}/${log.partition} was sent outside a transaction.`,
          );
      const appended: Appended[] = [];
      let plan = new AppendPlan(this.storage.batch(), now);
      for (const part of checked) {
        // A producer's sequence is judged by what stands in the log, so that its batches go one by one.
        if (part.header.producerId >= 0) {
          await plan.commit();
          plan = new AppendPlan(this.storage.batch(), now);
        }
        appended.push(plan.addRaw(part));
      }
      await plan.commit();
      return appended;
    });
  }

  /**
   * Appends of an idempotent producer, each partition for itself: a refused batch fails the later ones of its partition.
   * Rejects with the first failure after the others have been written.
   */
  async appendIdempotent(stamp: ProducerStamp, batches: readonly LogBatch[]): Promise<readonly Appended[]> {
    this.expectOpen();
    return this.sequencer.run(async () => {
      const now = this.clock.now();
      const plan = new AppendPlan(this.storage.batch(), now);
      const failed = new Set<string>();
      let failure: Error | undefined;
      const appended: Appended[] = [];
      for (const batch of batches) {
        const key = `${batch.topic}/${batch.partition}`;
        if (failed.has(key)) continue;
        try {
          const log = this.topics.partition(batch);
          const checked = checkBatches(this.topics.topic(batch.topic), log, batch, now);
          const end = plan.endOf(log);
          const parts = checked.map((part) => plan.addStamped(part, stamp, false));
          appended.push({
            baseOffset: parts[0]?.baseOffset ?? end,
            lastOffset: parts.at(-1)?.lastOffset ?? end - 1,
          });
        } catch (error) {
          failed.add(key);
          failure ??= error instanceof Error ? error : new Error(String(error));
        }
      }
      await plan.commit();
      if (failure !== undefined) throw failure;
      return appended;
    });
  }

  async read(request: ReadRequest): Promise<LogPage> {
    this.expectOpen();
    const log = this.topics.partition(request);
    const plan = log.plan(request.from, request.maxBytes, request.isolation);
    const bytes = await copyOut(this.storage, log, plan.entries);
    return { bytes, from: plan.from, next: plan.next, aborted: plan.aborted, bounds: plan.bounds };
  }

  /**
   * Sets or (`undefined`) removes committed offsets, as an operator does while the group has no members.
   * Rejects ILLEGAL_STATE while it has.
   */
  async setOffsets(
    group: string,
    offsets: readonly (TopicPartition & { readonly offset: number | undefined; readonly metadata: string })[],
  ): Promise<void> {
    this.expectOpen();
    await this.sequencer.run(async () => {
      if (this.group(group).describe().members.length > 0)
        throw new PartitaError(
          'ILLEGAL_STATE',
          `The group ${group} has members: its offsets can't be set from outside.`,
        );
      const batch = this.storage.batch();
      const effects = offsets.map((given) => this.#planOffset(batch, group, given));
      await batch.write();
      for (const effect of effects) effect();
    });
  }

  #planOffset(
    batch: StorageBatch,
    group: string,
    { offset, ...rest }: TopicPartition & { readonly offset: number | undefined; readonly metadata: string },
  ): () => void {
    const row: OffsetRow = { group, ...rest, offset: offset ?? 0 };
    if (offset === undefined) {
      batch.deleteOffset(row);
      return () => {
        this.offsets.delete(row);
      };
    }
    this.topics.partition(row);
    batch.putOffset(row);
    return () => {
      this.offsets.set(row);
    };
  }

  /** Raises the log start. Batches below it are gone; one that reaches across it stays whole. */
  async moveStart(log: PartitionLog, start: number): Promise<void> {
    await this.sequencer.run(async () => {
      if (start <= log.bounds.start) return;
      const batch = this.storage.batch();
      const gone: BatchEntry[] = log.entries.slice(0, log.indexOf(start));
      for (const entry of gone) batch.deleteEntry(log, entry);
      for (const range of log.aborted) if (range.markerOffset < start) batch.deleteAborted(log, range);
      batch.putPartition(log, { start, end: log.bounds.end, cleanedTo: log.cleanedTo });
      await batch.write();
      log.moveStart(start);
    });
  }

  /** Ends groups, waits for operations under way and closes the storage. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const group of this.#groups.values()) group.close();
    await this.sequencer.settled();
    await this.storage.close();
  }
}
