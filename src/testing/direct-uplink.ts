/**
 * What an actor under test asks of the log, answered by the log client itself: there is no group, so ownership is never
 * in question. `cut` makes it the uplink of a crashed actor, which reaches nothing any more. The runtime's own is
 * `manager/actor-uplink.ts`.
 */
import { PartitaError } from '../core/errors.js';
import type {
  CommitOutcome,
  CommittedOffset,
  LogBatch,
  LogPage,
  PartitionBounds,
} from '../core/log-types.js';
import { transactionalId } from '../core/names.js';
import type { LogClient, OutputProducer, TransactionalProducer } from '../log/log-client.js';
import type { ActorCommit, ActorEvent, ActorSpec, ActorUplink, OutputSpec } from '../threads/protocol.js';

const TRANSACTION_TIMEOUT_MS = 10_000;

export class DirectUplink implements ActorUplink {
  readonly #client: LogClient;
  readonly #spec: ActorSpec;
  readonly #onEvent: (event: ActorEvent) => void;
  readonly #outputs: OutputProducer;
  #producer: TransactionalProducer | undefined;
  #cut = false;

  constructor(client: LogClient, spec: ActorSpec, onEvent: (event: ActorEvent) => void) {
    this.#client = client;
    this.#spec = spec;
    this.#onEvent = onEvent;
    this.#outputs = client.outputs();
  }

  async init(): Promise<void> {
    this.#alive();
    const { group, id } = this.#spec;
    await this.#producer?.close();
    this.#producer = this.#client.producer({
      transactionalId: transactionalId(group, id.stream, id.partition),
      transactionTimeoutMs: TRANSACTION_TIMEOUT_MS,
    });
    await this.#producer.init();
  }

  async committed(): Promise<readonly (CommittedOffset | undefined)[]> {
    this.#alive();
    return this.#client.committed(this.#spec.group, this.#inputs());
  }

  async inputBounds(): Promise<readonly PartitionBounds[]> {
    this.#alive();
    return this.#client.topics.bounds(this.#inputs());
  }

  async changelogBounds(): Promise<PartitionBounds> {
    this.#alive();
    const [bounds] = await this.#client.topics.bounds([this.#changelog()]);
    return bounds!;
  }

  async readChangelog(request: { readonly from: number; readonly maxBytes: number }): Promise<LogPage> {
    this.#alive();
    return this.#client.read({ ...this.#changelog(), ...request, isolation: 'read_committed' });
  }

  async commit(request: ActorCommit): Promise<CommitOutcome> {
    this.#alive();
    if (this.#producer === undefined)
      throw new PartitaError('ILLEGAL_STATE', 'A commit was asked for before the producer was initialised.');
    const { batches, offsets } = request;
    return this.#producer.commitTransaction({ batches, group: this.#spec.group, offsets });
  }

  async describeTopic(topic: string): Promise<OutputSpec | undefined> {
    this.#alive();
    const [found] = await this.#client.topics.describe([topic]);
    return found && { output: topic, topic, partitions: found.partitions, limits: found.limits };
  }

  async produce(batches: readonly LogBatch[]): Promise<void> {
    this.#alive();
    await this.#outputs.produce(batches);
  }

  event(event: ActorEvent): void {
    if (!this.#cut) this.#onEvent(event);
  }

  /** From now on every call is refused as those of a fenced actor are, and events are not heard. */
  cut(): void {
    this.#cut = true;
  }

  async close(): Promise<void> {
    this.cut();
    await this.#producer?.close();
    await this.#outputs.close();
  }

  #alive(): void {
    if (!this.#cut) return;
    const { stream, partition } = this.#spec.id;
    throw new PartitaError(
      'FENCED',
      `The actor ${stream}/${partition} has crashed and writes nothing any more.`,
    );
  }

  #inputs(): { readonly topic: string; readonly partition: number }[] {
    const { partition } = this.#spec.id;
    return this.#spec.inputs.map(({ topic }) => ({ topic, partition }));
  }

  #changelog(): { readonly topic: string; readonly partition: number } {
    const { changelog, id } = this.#spec;
    if (changelog === undefined)
      throw new PartitaError('ILLEGAL_STATE', `The stream ${id.stream} has no state and so no changelog.`);
    return { topic: changelog.topic, partition: id.partition };
  }
}
