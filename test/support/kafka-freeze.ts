/**
 * A broker as the world of `freeze-run.ts`: each member reaches it through a relay of its own, which holds back what the
 * member says and hears, and lets it through when it wakes, late requests too. It never decides who freezes, or when.
 */
import { kafka, type LogFactory } from '../../src/index.js';
import { ManagerMember, type FreezeMember, type MemberSettings } from './freeze-member.js';
import type { FreezeKind, FreezeWorld } from './freeze-run.js';
import { KafkaTopicsLog } from './kafka-topics-log.js';
import { relayTo } from './kafka-relay.js';
import { otherRead } from './other-client.js';
import type { RawRecord } from './oracle-model.js';
import type { TcpProxy } from './tcp-proxy.js';

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

/** What the worlds on a broker share: topics and records of other clients, and who is frozen. */
export abstract class KafkaFreezeBase implements FreezeWorld {
  readonly of: string;
  readonly sessionMs = 1_500;
  readonly log: LogFactory;
  protected readonly brokers: readonly string[];
  readonly #frozen = new Set<string>();
  #beside: Promise<KafkaTopicsLog> | undefined;

  /** @param brokers one, that listens on 127.0.0.1 */
  constructor(brokers: readonly string[], of: string) {
    this.of = of;
    this.brokers = brokers;
    this.log = kafka({ brokers });
  }

  abstract get moments(): readonly (string | undefined)[];
  abstract get held(): ReadonlyMap<string, number>;
  protected abstract hold(clientId: string, kind: FreezeKind, at: string | undefined): void;
  protected abstract release(clientId: string): void;
  abstract start(clientId: string, settings: MemberSettings): Promise<FreezeMember>;

  async createTopic(topic: string, partitions: number): Promise<void> {
    await (await this.#other()).createTopic({ topic, partitions });
  }

  async produce(topic: string, records: readonly { key: string; value: Buffer }[]): Promise<void> {
    await (await this.#other()).produce(topic, records);
  }

  async read(topic: string): Promise<readonly RawRecord[]> {
    const records = await otherRead(this.brokers, topic);
    return records.sort((a, b) => a.partition - b.partition || a.offset - b.offset);
  }

  isFrozen(clientId: string): boolean {
    return this.#frozen.has(clientId);
  }

  freeze(clientId: string, kind: FreezeKind, at: string | undefined): void {
    this.#frozen.add(clientId);
    this.hold(clientId, kind, at);
  }

  thaw(clientId: string): void {
    this.#frozen.delete(clientId);
    this.release(clientId);
  }

  async close(): Promise<void> {
    await (await this.#beside)?.close();
  }

  #other(): Promise<KafkaTopicsLog> {
    return (this.#beside ??= KafkaTopicsLog.connect(this.brokers, this.of));
  }
}

export class RelayFreezeWorld extends KafkaFreezeBase {
  readonly moments = [undefined, ...MOMENTS.keys()];
  readonly #proxies = new Map<string, TcpProxy>();
  readonly #asked = new Map<string, number>();

  get held(): ReadonlyMap<string, number> {
    const keys = [...this.#proxies.values()].flatMap((proxy) => proxy.held);
    const times = (apiKey: number): number => keys.filter((key) => key === apiKey).length;
    return new Map([...MOMENTS].map(([moment, apiKey]) => [moment, times(apiKey)]));
  }

  /** How often the member has asked for that, whether it was held or not. */
  asked(clientId: string, moment: string): number {
    return this.#asked.get(`${clientId} ${MOMENTS.get(moment)}`) ?? 0;
  }

  async start(clientId: string, settings: MemberSettings): Promise<FreezeMember> {
    const proxy = await relayTo(this.brokers);
    this.#proxies.set(clientId, proxy);
    proxy.onRequest = (apiKey) => {
      const key = `${clientId} ${apiKey}`;
      this.#asked.set(key, (this.#asked.get(key) ?? 0) + 1);
      return true;
    };
    return ManagerMember.start(kafka({ brokers: [proxy.address] }), settings);
  }

  protected hold(clientId: string, kind: FreezeKind, at: string | undefined): void {
    this.#proxies.get(clientId)!.hold(kind, at === undefined ? undefined : MOMENTS.get(at));
  }

  protected release(clientId: string): void {
    this.#proxies.get(clientId)?.release();
  }

  override async close(): Promise<void> {
    for (const proxy of this.#proxies.values()) await proxy.close();
    await super.close();
  }
}
