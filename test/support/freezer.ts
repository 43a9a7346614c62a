/**
 * Members of a group that freeze: whatever one asks of the log, or hears from it, is held back until it thaws, its heartbeats
 * too, while its threads go on. Who freezes, when and for how long is for the test to say.
 */
import type { FaultInfo, LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';

/** What a frozen member does not get through: everything, its heartbeats alone, or the answers alone. */
type Kind = 'everything' | 'heartbeats' | 'answers';

interface Frost {
  readonly kind: Kind;
  /** Closed from the next such operation on. */
  readonly at: string | undefined;
  closed: boolean;
  readonly thawed: Promise<void>;
  readonly thaw: () => void;
}

/** Holds back what frozen members say and hear. */
export class Freezer implements LogFaults {
  readonly #frosts = new Map<string, Frost>();
  /** Calls that were held, by operation. */
  readonly held = new Map<LogOperation, number>();

  isFrozen(clientId: string): boolean {
    return this.#frosts.has(clientId);
  }

  /** @param at in the middle of the next such operation; absent: now */
  freeze(clientId: string, kind: Kind = 'everything', at?: string): void {
    let thaw = (): void => undefined;
    const thawed = new Promise<void>((resolve) => (thaw = resolve));
    this.#frosts.set(clientId, { kind, at, closed: at === undefined, thawed, thaw });
  }

  thaw(clientId: string): void {
    this.#frosts.get(clientId)?.thaw();
    this.#frosts.delete(clientId);
  }

  thawAll(): void {
    for (const clientId of [...this.#frosts.keys()]) this.thaw(clientId);
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
