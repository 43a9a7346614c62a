/**
 * The embedded log as the world of `freeze-run.ts`: what a frozen member asks of it, or hears from it, is held back at the
 * port, by its faults. It never decides who freezes, or when.
 */
import { embeddedLog, type EmbeddedLog, type LogFactory } from '../../src/index.js';
import type { FaultInfo, LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { ManagerMember, type FreezeMember, type MemberSettings } from './freeze-member.js';
import type { FreezeKind, FreezeWorld } from './freeze-run.js';
import { readAll } from './oracle-job.js';
import type { RawRecord } from './oracle-model.js';

/** In the middle of what a freeze may begin; `undefined`: wherever the member is. */
const MOMENTS = [undefined, 'commit', 'init', 'read', 'committed', 'assign', 'owns', 'heartbeat'] as const;

interface Frost {
  readonly kind: FreezeKind;
  /** Closed from the next such operation on. */
  readonly at: string | undefined;
  closed: boolean;
  readonly thawed: Promise<void>;
  readonly thaw: () => void;
}

/** Holds back what frozen members say and hear. */
class Freezer implements LogFaults {
  readonly #frosts = new Map<string, Frost>();
  /** Calls that were held, by operation. */
  readonly held = new Map<LogOperation, number>();

  isFrozen(clientId: string): boolean {
    return this.#frosts.has(clientId);
  }

  freeze(clientId: string, kind: FreezeKind, at: string | undefined): void {
    let thaw = (): void => undefined;
    const thawed = new Promise<void>((resolve) => (thaw = resolve));
    this.#frosts.set(clientId, { kind, at, closed: at === undefined, thawed, thaw });
  }

  thaw(clientId: string): void {
    this.#frosts.get(clientId)?.thaw();
    this.#frosts.delete(clientId);
  }

  before(operation: LogOperation, { clientId }: FaultInfo): unknown {
    const frost = this.#frosts.get(clientId);
    if (frost === undefined || frost.kind === 'answers') return undefined;
    return this.#hold(frost, operation);
  }

  after(operation: LogOperation, { clientId }: FaultInfo): unknown {
    const frost = this.#frosts.get(clientId);
    if (frost === undefined) return undefined;
    // One that freezes in the middle of an operation hears no answer to it.
    if (frost.at === operation) frost.closed = true;
    return this.#hold(frost, operation);
  }

  #hold(frost: Frost, operation: LogOperation): Promise<void> | undefined {
    if (!frost.closed || (frost.kind === 'heartbeats' && operation !== 'heartbeat')) return undefined;
    this.held.set(operation, (this.held.get(operation) ?? 0) + 1);
    return frost.thawed;
  }
}

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
