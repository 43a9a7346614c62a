/**
 * Brokers in memory for a real `Cluster`: logs with producers' sequences, transactional ids with their epochs, and
 * committed offsets, by Kafka's rules, so that tests can ask what is visible in the end. A script says which requests are
 * refused, or lost before or after they were carried out. It never opens a socket and never compresses time.
 */
import assert from 'node:assert/strict';
import { checkBatch } from '../../src/codec/record-batch-header.js';
import { RecordReader } from '../../src/codec/record-batch-reader.js';
import { systemClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/logger.js';
import { Cluster } from '../../src/log/kafka/cluster.js';
import { resolveKafkaOptions, type KafkaLogOptions } from '../../src/log/kafka/kafka-options.js';
import {
  loadKafkajs,
  type BrokerConnection,
  type Requests,
  type WireRequest,
} from '../../src/log/kafka/kafkajs-internals.js';
import { ByteReader } from '../../src/log/kafka/wire/byte-reader.js';

/** Kafka's error codes by name, as far as tests answer them. */
export const CODES = {
  NONE: 0,
  CORRUPT_MESSAGE: 2,
  UNKNOWN_TOPIC_OR_PARTITION: 3,
  NOT_LEADER_FOR_PARTITION: 6,
  REQUEST_TIMED_OUT: 7,
  MESSAGE_TOO_LARGE: 10,
  GROUP_LOAD_IN_PROGRESS: 14,
  GROUP_COORDINATOR_NOT_AVAILABLE: 15,
  NOT_COORDINATOR_FOR_GROUP: 16,
  NOT_ENOUGH_REPLICAS: 19,
  TOPIC_AUTHORIZATION_FAILED: 29,
  GROUP_AUTHORIZATION_FAILED: 30,
  INVALID_TIMESTAMP: 32,
  POLICY_VIOLATION: 44,
  OUT_OF_ORDER_SEQUENCE_NUMBER: 45,
  DUPLICATE_SEQUENCE_NUMBER: 46,
  INVALID_PRODUCER_EPOCH: 47,
  INVALID_TXN_STATE: 48,
  INVALID_PRODUCER_ID_MAPPING: 49,
  INVALID_TRANSACTION_TIMEOUT: 50,
  CONCURRENT_TRANSACTIONS: 51,
  TRANSACTION_COORDINATOR_FENCED: 52,
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 53,
  OPERATION_NOT_ATTEMPTED: 55,
  UNKNOWN_PRODUCER_ID: 59,
  UNSUPPORTED_COMPRESSION_TYPE: 76,
  INVALID_RECORD: 87,
  PRODUCER_FENCED: 90,
  TRANSACTION_ABORTABLE: 120,
} as const;

export type CodeName = keyof typeof CODES;
export type Api =
  'InitProducerId' | 'AddPartitionsToTxn' | 'Produce' | 'AddOffsetsToTxn' | 'TxnOffsetCommit' | 'EndTxn';

/** `lost`: the connection drops instead; `unanswered`: it drops after the request was carried out; `hang`: no answer. */
export type Step = 'lost' | 'unanswered' | 'hang' | 'pass' | { readonly answer: CodeName };

interface Appended {
  readonly values: readonly string[];
  readonly producerId: number;
  readonly epoch: number;
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  state: 'plain' | 'open' | 'committed' | 'aborted';
}

interface Id {
  readonly producerId: number;
  epoch: number;
  /** Who may repeat its question for a next epoch; nobody after an init that fenced. */
  lastEpoch: number;
  readonly partitions: Set<string>;
  isOpen: boolean;
  readonly offsets: Map<string, number>;
}

class LostConnection extends Error {
  override readonly name = 'KafkaJSConnectionClosedError';
}

export class ScriptedBrokers {
  /** What arrived, in order: the api, and for Produce its partitions. */
  readonly seen: string[] = [];
  readonly committed = new Map<string, number>();
  readonly #script = new Map<Api, Step[]>();
  readonly #topics = new Map<string, number>();
  readonly #leaders = new Map<string, number>();
  readonly #logs = new Map<string, Appended[]>();
  readonly #ends = new Map<string, number>();
  readonly #ids = new Map<string, Id>();
  readonly #batchBytesMax = new Map<string, number>();
  readonly #lastEnd = new Map<Id, 'committed' | 'aborted'>();
  #nextProducerId = 1_000;
  /** Requests under way, and the most there were at once. */
  produceUnderWay = 0;
  produceUnderWayMax = 0;
  /** Before each produce request is carried out. */
  onProduce: () => Promise<void> | undefined = () => undefined;

  topic(name: string, partitions: number, options: { readonly batchBytesMax?: number } = {}): this {
    this.#topics.set(name, partitions);
    if (options.batchBytesMax !== undefined) this.#batchBytesMax.set(name, options.batchBytesMax);
    return this;
  }

  lead(topic: string, partition: number, node: number): void {
    this.#leaders.set(`${topic}/${partition}`, node);
  }

  /** What happens to the next requests of this kind; afterwards they pass. */
  script(api: Api, ...steps: readonly Step[]): void {
    this.#script.set(api, [...steps]);
  }

  /** Everything on the partition that a reader of committed records sees. */
  visible(topic: string, partition: number): readonly string[] {
    return this.#log(`${topic}/${partition}`)
      .filter(({ state }) => state === 'plain' || state === 'committed')
      .flatMap(({ values }) => values);
  }

  appended(topic: string, partition: number): readonly Appended[] {
    return this.#log(`${topic}/${partition}`);
  }

  get openTransactions(): number {
    return [...this.#ids.values()].filter(({ isOpen }) => isOpen).length;
  }

  async cluster(options: Partial<KafkaLogOptions> = {}): Promise<Cluster> {
    const kafkajs = await loadKafkajs();
    const cluster = new Cluster({
      kafkajs: {
        errorType: (code) => kafkajs.errorType(code),
        connection: ({ port }) => this.#connection(port - 9_000),
      },
      options: resolveKafkaOptions({ brokers: ['b:9001'], ...options }),
      clientId: 'test',
      clock: systemClock,
      logger: silentLogger,
    });
    await cluster.connect();
    return cluster;
  }

  #connection(node: number): BrokerConnection {
    let isConnected = false;
    let order: Promise<unknown> = Promise.resolve();
    const pending = new Set<(error: Error) => void>();
    const drop = (): void => {
      isConnected = false;
      for (const reject of pending) reject(new LostConnection('The connection was lost.'));
      pending.clear();
    };
    const carryOut = async <T>(request: WireRequest<T>): Promise<T> => {
      await new Promise((resolve) => setImmediate(resolve));
      const step = this.#script.get(request.apiName as Api)?.shift() ?? 'pass';
      this.#note(request);
      if (step === 'hang') return new Promise<never>(() => undefined);
      if (step === 'lost') drop();
      if (!isConnected) throw new LostConnection('The connection was lost.');
      if (request.apiName === 'Produce') await this.onProduce();
      const answer = this.#answer(node, request, typeof step === 'object' ? step.answer : undefined) as T;
      if (step === 'unanswered') drop();
      return answer;
    };
    return {
      requests: {
        findGroupCoordinator: async () => ({ coordinator: { nodeId: 1, host: 'b', port: 9_001 } }),
      } as unknown as Requests,
      versions: { 24: { minVersion: 0, maxVersion: 5 } },
      get isConnected() {
        return isConnected;
      },
      connect: async () => {
        isConnected = true;
      },
      close: async () => {
        drop();
      },
      fetch: () => assert.fail('Nothing is fetched here.'),
      send: <T>(request: WireRequest<T>) =>
        new Promise<T>((resolve, reject) => {
          if (!isConnected) {
            reject(new LostConnection('Not connected.'));
            return;
          }
          const isProduce = request.apiName === 'Produce';
          if (isProduce) this.produceUnderWayMax = Math.max(this.produceUnderWayMax, ++this.produceUnderWay);
          pending.add(reject);
          // A broker answers a connection's requests in order.
          order = order
            .then(() => carryOut(request))
            .then(resolve, reject)
            .finally(() => {
              pending.delete(reject);
              if (isProduce) this.produceUnderWay--;
            });
        }),
    };
  }

  #note({ apiName, body }: WireRequest<unknown>): void {
    if (apiName === 'Metadata') return;
    const of = apiName === 'Produce' ? this.#readProduce(whole(body)).map(({ key }) => key) : [];
    this.seen.push([apiName, ...of].join(' '));
  }

  #answer(node: number, request: WireRequest<unknown>, refusal: CodeName | undefined): unknown {
    const reader = new ByteReader(whole(request.body));
    const code = refusal === undefined ? undefined : CODES[refusal];
    switch (request.apiName) {
      case 'Metadata':
        return this.#metadata(reader);
      case 'InitProducerId':
        return code === undefined ? this.#init(reader) : { errorCode: code, producerId: -1, epoch: -1 };
      case 'Produce':
        return this.#produce(node, whole(request.body), code);
      case 'AddPartitionsToTxn':
        return this.#addPartitions(reader, code);
      case 'AddOffsetsToTxn':
        return code ?? this.#addOffsets(reader);
      case 'TxnOffsetCommit':
        return this.#commitOffsets(reader, code);
      case 'EndTxn':
        return code ?? this.#end(reader);
      default:
        return assert.fail(`Nobody scripted ${request.apiName}.`);
    }
  }

  #metadata(reader: ByteReader): unknown {
    reader.tags();
    const topics = reader.compactArray(() => {
      reader.uuid();
      const topic = reader.compactString();
      reader.tags();
      return topic;
    });
    return {
      controllerId: 1,
      brokers: [1, 2].map((nodeId) => ({ nodeId, host: 'b', port: 9_000 + nodeId })),
      topics: topics.map((topic) => ({
        topic,
        topicId: topic,
        errorCode: this.#topics.has(topic) ? 0 : 3,
        partitions: Array.from({ length: this.#topics.get(topic) ?? 0 }, (_, partition) => ({
          errorCode: 0,
          partition,
          leader: this.#leader(`${topic}/${partition}`),
          leaderEpoch: 0,
          replicas: 1,
        })),
      })),
    };
  }

  #init(reader: ByteReader): unknown {
    reader.tags();
    const name = reader.nullableCompactString();
    reader.int32();
    const holder = { producerId: reader.int64(), epoch: reader.int16() };
    if (name === null) return { errorCode: 0, producerId: this.#nextProducerId++, epoch: 0 };
    const id = this.#ids.get(name) ?? {
      producerId: this.#nextProducerId++,
      epoch: -1,
      lastEpoch: -1,
      partitions: new Set<string>(),
      isOpen: false,
      offsets: new Map<string, number>(),
    };
    this.#ids.set(name, id);
    const isRenewal = holder.producerId >= 0;
    if (isRenewal && holder.epoch === id.lastEpoch)
      return { errorCode: 0, producerId: id.producerId, epoch: id.epoch };
    if (isRenewal && holder.epoch !== id.epoch)
      return { errorCode: CODES.PRODUCER_FENCED, producerId: -1, epoch: -1 };
    this.#finish(id, 'aborted');
    id.lastEpoch = isRenewal ? id.epoch : -1;
    id.epoch++;
    return { errorCode: 0, producerId: id.producerId, epoch: id.epoch };
  }

  #produce(node: number, body: Buffer, refusal: number | undefined): unknown {
    return this.#readProduce(whole(body)).map(({ key, topic, partition, bytes, transactionalId }) => {
      const result = refusal ?? this.#append(node, key, topic, bytes, transactionalId);
      return typeof result === 'number'
        ? { topic, partition, errorCode: result, baseOffset: -1, message: null }
        : { topic, partition, errorCode: 0, baseOffset: result.baseOffset, message: null };
    });
  }

  #readProduce(body: Buffer) {
    const reader = new ByteReader(body);
    const transactionalId = reader.nullableString();
    reader.int16();
    reader.int32();
    return reader
      .array(() => {
        const topic = reader.string();
        return reader.array(() => {
          const partition = reader.int32();
          const length = reader.int32();
          const at = reader.skip(length);
          const key = `${topic}/${partition}`;
          return { key, topic, partition, transactionalId, bytes: body.subarray(at, at + length) };
        });
      })
      .flat();
  }

  #append(
    node: number,
    key: string,
    topic: string,
    bytes: Buffer,
    transactionalId: string | null,
  ): number | { readonly baseOffset: number } {
    if (!this.#topics.has(topic)) return CODES.UNKNOWN_TOPIC_OR_PARTITION;
    if (this.#leader(key) !== node) return CODES.NOT_LEADER_FOR_PARTITION;
    const header = checkBatch(bytes, 0);
    assert.equal(header.end, bytes.length, 'One record batch per partition and request.');
    if (bytes.length > (this.#batchBytesMax.get(topic) ?? Infinity)) return CODES.MESSAGE_TOO_LARGE;
    const { producerId, producerEpoch: epoch, baseSequence } = header;
    assert.equal(header.isTransactional, transactionalId !== null);
    if (transactionalId !== null) {
      const id = this.#ids.get(transactionalId)!;
      if (id.producerId !== producerId || id.epoch !== epoch) return CODES.INVALID_PRODUCER_EPOCH;
      if (!id.partitions.has(key)) return CODES.INVALID_TXN_STATE;
    }
    const log = this.#log(key);
    const lastSequence = (baseSequence + header.recordCount - 1) & 0x7fffffff;
    const own = log.filter((one) => one.producerId === producerId && one.epoch === epoch);
    const duplicate = own.slice(-5).find((one) => one.baseSequence === baseSequence);
    if (duplicate !== undefined) return duplicate;
    const last = own.at(-1);
    const expected = last === undefined ? baseSequence : (last.lastSequence + 1) & 0x7fffffff;
    if (baseSequence !== expected) return CODES.OUT_OF_ORDER_SEQUENCE_NUMBER;
    const baseOffset = this.#ends.get(key) ?? 0;
    this.#ends.set(key, baseOffset + header.recordCount);
    const appended: Appended = {
      values: valuesOf(bytes),
      producerId,
      epoch,
      baseSequence,
      lastSequence,
      baseOffset,
      state: transactionalId === null ? 'plain' : 'open',
    };
    log.push(appended);
    return appended;
  }

  #current(reader: ByteReader, name: string): Id | number {
    const id = this.#ids.get(name);
    if (id?.producerId !== reader.int64()) return CODES.INVALID_PRODUCER_ID_MAPPING;
    return id.epoch === reader.int16() ? id : CODES.INVALID_PRODUCER_EPOCH;
  }

  #addPartitions(reader: ByteReader, refusal: number | undefined): unknown {
    const id = this.#current(reader, reader.string());
    const partitions = reader
      .array(() => {
        const topic = reader.string();
        return reader.array(() => ({ topic, partition: reader.int32() }));
      })
      .flat();
    let code = refusal ?? (typeof id === 'number' ? id : undefined);
    if (code === undefined && partitions.some(({ topic }) => !this.#topics.has(topic)))
      code = CODES.UNKNOWN_TOPIC_OR_PARTITION;
    if (code !== undefined)
      return partitions.map((one, at) => ({
        ...one,
        errorCode: partitions.length > 1 && at === 0 ? CODES.OPERATION_NOT_ATTEMPTED : code,
      }));
    const open = id as Id;
    open.isOpen = true;
    for (const { topic, partition } of partitions) open.partitions.add(`${topic}/${partition}`);
    return partitions.map((one) => ({ ...one, errorCode: 0 }));
  }

  #addOffsets(reader: ByteReader): number {
    const id = this.#current(reader, reader.string());
    if (typeof id === 'number') return id;
    id.isOpen = true;
    return 0;
  }

  #commitOffsets(reader: ByteReader, refusal: number | undefined): unknown {
    const name = reader.string();
    const group = reader.string();
    const id = this.#current(reader, name);
    const offsets = reader
      .array(() => {
        const topic = reader.string();
        return reader.array(() => {
          const at = { topic, partition: reader.int32(), offset: reader.int64() };
          reader.nullableString();
          return at;
        });
      })
      .flat();
    const code = refusal ?? (typeof id === 'number' ? id : 0);
    if (code === 0)
      for (const { topic, partition, offset } of offsets)
        (id as Id).offsets.set(`${group} ${topic}/${partition}`, offset);
    return offsets.map(({ topic, partition }) => ({ topic, partition, errorCode: code }));
  }

  #end(reader: ByteReader): number {
    const id = this.#current(reader, reader.string());
    if (typeof id === 'number') return id;
    const how = reader.int8() === 1 ? 'committed' : 'aborted';
    if (!id.isOpen) return this.#lastEnd.get(id) === how ? 0 : CODES.INVALID_TXN_STATE;
    this.#finish(id, how);
    return 0;
  }

  #finish(id: Id, how: 'committed' | 'aborted'): void {
    for (const key of id.partitions) {
      for (const batch of this.#log(key))
        if (batch.producerId === id.producerId && batch.state === 'open') batch.state = how;
      // The marker.
      this.#ends.set(key, (this.#ends.get(key) ?? 0) + 1);
    }
    if (how === 'committed') for (const [key, offset] of id.offsets) this.committed.set(key, offset);
    id.partitions.clear();
    id.offsets.clear();
    id.isOpen = false;
    this.#lastEnd.set(id, how);
  }

  #leader(key: string): number {
    return this.#leaders.get(key) ?? 1;
  }

  #log(key: string): Appended[] {
    let log = this.#logs.get(key);
    if (log === undefined) this.#logs.set(key, (log = []));
    return log;
  }
}

function valuesOf(bytes: Buffer): readonly string[] {
  const reader = new RecordReader();
  reader.load(new Uint8Array(bytes).buffer, { from: 0, aborted: [] });
  const values: string[] = [];
  while (reader.next()) values.push(Buffer.from(reader.value()!).toString());
  return values;
}

function whole(body: WireRequest<unknown>['body']): Buffer {
  return Buffer.concat(body instanceof Uint8Array ? [body] : body);
}
