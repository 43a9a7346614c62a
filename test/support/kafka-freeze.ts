/**
 * A broker as the world of `freeze-run.ts`: each member reaches it through a relay of its own, which holds back what the
 * member says and hears, and lets it through when it wakes, late requests too. It never decides who freezes, or when.
 */
import { kafka, type LogFactory } from '../../src/index.js';
import type { FreezeKind, FreezeWorld } from './freeze-run.js';
import { freePort } from './kafka-layout.js';
import { KafkaOracleLog } from './kafka-oracle-log.js';
import { otherRead } from './other-client.js';
import type { RawRecord } from './oracle-model.js';
import { TcpProxy } from './tcp-proxy.js';

/** In the middle of what a freeze may begin, by Kafka's api key. */
const MOMENTS: ReadonlyMap<string, number> = new Map([
  ['append', 0],
  ['bounds', 2],
  ['committed', 9],
  ['join', 11],
  ['heartbeat', 12],
  ['assign', 14],
  ['init', 22],
  ['commit', 26],
  ['offsets', 28],
]);

export class KafkaFreezeWorld implements FreezeWorld {
  readonly of: string;
  readonly sessionMs = 1_500;
  readonly moments = [undefined, ...MOMENTS.keys()];
  readonly log: LogFactory;
  readonly #brokers: readonly string[];
  readonly #beside: KafkaOracleLog;
  readonly #proxies = new Map<string, TcpProxy>();
  readonly #frozen = new Set<string>();

  private constructor(brokers: readonly string[], of: string, beside: KafkaOracleLog) {
    this.of = of;
    this.#brokers = brokers;
    this.log = kafka({ brokers });
    this.#beside = beside;
  }

  /** @param brokers one, that listens on 127.0.0.1 */
  static async connect(brokers: readonly string[], of: string): Promise<KafkaFreezeWorld> {
    return new KafkaFreezeWorld(brokers, of, await KafkaOracleLog.connect(brokers, of));
  }

  get held(): ReadonlyMap<string, number> {
    const held = new Map<string, number>();
    const keys = [...this.#proxies.values()].flatMap((proxy) => proxy.held);
    for (const [moment, apiKey] of MOMENTS) held.set(moment, keys.filter((key) => key === apiKey).length);
    return held;
  }

  async reach(clientId: string): Promise<LogFactory> {
    const proxy = await TcpProxy.listen(await freePort());
    this.#proxies.set(clientId, proxy);
    const target = Number(this.#brokers[0]!.split(':')[1]);
    proxy.target = target;
    const [theirs, ours] = [target, proxy.port].map(addressOnTheWire) as [Buffer, Buffer];
    proxy.onAnswer = (answer) => replaced(answer, theirs, ours);
    return kafka({ brokers: [proxy.address] });
  }

  async createTopic(topic: string, partitions: number): Promise<void> {
    await this.#beside.createTopic({ topic, partitions });
  }

  produce(topic: string, records: readonly { key: string; value: Buffer }[]): Promise<void> {
    return this.#beside.produce(topic, records);
  }

  async read(topic: string): Promise<readonly RawRecord[]> {
    const records = await otherRead(this.#brokers, topic);
    return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
  }

  isFrozen(clientId: string): boolean {
    return this.#frozen.has(clientId);
  }

  freeze(clientId: string, kind: FreezeKind, at: string | undefined): void {
    this.#frozen.add(clientId);
    this.#proxies.get(clientId)!.hold(kind, at === undefined ? undefined : MOMENTS.get(at));
  }

  thaw(clientId: string): void {
    this.#frozen.delete(clientId);
    this.#proxies.get(clientId)?.release();
  }

  async close(): Promise<void> {
    for (const proxy of this.#proxies.values()) await proxy.close();
    await this.#beside.close();
  }
}

/** As brokers give addresses in metadata and of coordinators: the host with its length before it, then the port. */
function addressOnTheWire(port: number): Buffer {
  const host = Buffer.from('127.0.0.1');
  const bytes = Buffer.alloc(host.length + 4);
  host.copy(bytes);
  bytes.writeInt32BE(port, host.length);
  return bytes;
}

/** Every address of the broker becomes one of the relay: nothing goes around it. */
function replaced(answer: Buffer, from: Buffer, to: Buffer): Buffer {
  let at = answer.indexOf(from);
  if (at < 0) return answer;
  const changed = Buffer.from(answer);
  for (; at >= 0; at = answer.indexOf(from, at + from.length)) to.copy(changed, at);
  return changed;
}
