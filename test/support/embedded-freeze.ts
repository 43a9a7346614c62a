/**
 * The embedded log as the world of `freeze-run.ts`: what a frozen member asks of it, or hears from it, is held back at the
 * port, by its faults. It never decides who freezes, or when.
 */
import { embeddedLog, type EmbeddedLog, type LogFactory } from '../../src/index.js';
import { ManagerMember, type FreezeMember, type MemberSettings } from './freeze-member.js';
import type { FreezeKind, FreezeWorld } from './freeze-run.js';
import { Freezer } from './freezer.js';
import { readAll } from './oracle-job.js';
import type { RawRecord } from './oracle-model.js';

/** In the middle of what a freeze may begin; `undefined`: wherever the member is. */
const MOMENTS = [undefined, 'commit', 'init', 'read', 'committed', 'assign', 'owns', 'heartbeat'] as const;

export class EmbeddedFreezeWorld implements FreezeWorld {
  readonly of = '';
  readonly sessionMs = 400;
  readonly moments = MOMENTS;
  readonly log: EmbeddedLog;
  readonly #freezer: Freezer;

  private constructor(log: EmbeddedLog, freezer: Freezer) {
    this.log = log;
    this.#freezer = freezer;
  }

  /** @param dir where the log lies; without it in memory */
  static async open(dir?: string): Promise<EmbeddedFreezeWorld> {
    const faults = new Freezer();
    return new EmbeddedFreezeWorld(
      await embeddedLog({ faults, ...(dir === undefined ? {} : { dir }) }),
      faults,
    );
  }

  get held(): ReadonlyMap<string, number> {
    return this.#freezer.held;
  }

  start(clientId: string, settings: MemberSettings): Promise<FreezeMember> {
    const log: LogFactory = { kind: 'embedded', connect: () => this.log.connect({ clientId }) };
    return ManagerMember.start(log, settings);
  }

  async createTopic(topic: string, partitions: number): Promise<void> {
    await this.log.createTopic({ topic, partitions });
  }

  async produce(topic: string, records: readonly { key: string; value: Buffer }[]): Promise<void> {
    await this.log.produce(topic, records);
  }

  read(topic: string): Promise<readonly RawRecord[]> {
    return readAll(this.log, topic);
  }

  isFrozen(clientId: string): boolean {
    return this.#freezer.isFrozen(clientId);
  }

  freeze(clientId: string, kind: FreezeKind, at: string | undefined): void {
    this.#freezer.freeze(clientId, kind, at);
  }

  thaw(clientId: string): void {
    this.#freezer.thaw(clientId);
  }

  close(): Promise<void> {
    return this.log.close();
  }
}
