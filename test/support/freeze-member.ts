/**
 * One member of a life of freezes (`freeze-run.ts`): a manager of the totals with short time-outs, in this process or
 * behind a wire of messages (`frozen-process.ts`), with the few moves that the life makes. It never decides when.
 */
import {
  isPartitaError,
  processorAt,
  StateManager,
  type EngineKind,
  type LogFactory,
} from '../../src/index.js';
import type totals from '../fixtures/totals-processor.js';

const CALL_TIMEOUT_MS = 10_000;
const QUERY_TIMEOUT_MS = 5_000;

/** Goes over messages between processes as it is. */
export interface MemberSettings {
  /** What stands before the names of topics, and is the group's name; empty on a log of its own. */
  readonly of: string;
  readonly stateDir: string;
  readonly engine: EngineKind;
  readonly sessionMs: number;
  readonly parkMs: number;
}

export interface SumRow {
  readonly key: string;
  readonly sum: number;
}

export interface FreezeMember {
  /** How often partitions were lost without a barrier. */
  readonly evictions: number;
  ready(): Promise<void>;
  /** A command that adds 1 to the key: what its answer says. */
  add(key: string): Promise<'applied' | 'notApplied' | 'unknown'>;
  /** What each partition of this member holds; rejects if one of them does not answer. */
  all(): Promise<readonly (readonly [partition: number, rows: readonly SumRow[]])[]>;
  /** Its state and its partitions', for messages. A failed manager says `failed` first. */
  describe(): Promise<string>;
  stop(options?: { readonly deadlineMs: number }): Promise<void>;
}

export function groupOf(of: string): string {
  return of === '' ? 'g' : of;
}

export class ManagerMember implements FreezeMember {
  evictions = 0;
  readonly #manager: StateManager<ReturnType<typeof streams>>;

  private constructor(manager: StateManager<ReturnType<typeof streams>>) {
    this.#manager = manager;
    manager.on('lost', () => this.evictions++);
  }

  static async start(
    log: LogFactory,
    { of, stateDir, engine, sessionMs, parkMs }: MemberSettings,
  ): Promise<ManagerMember> {
    return new ManagerMember(
      await StateManager.start({
        group: groupOf(of),
        streams: streams(of),
        log,
        stateDir,
        engine,
        parkMs,
        workers: 1,
        checkpoint: { intervalMs: 20 },
        restarts: { firstMs: 5, maxMs: 50, max: 50 },
        sessionTimeoutMs: sessionMs,
        rebalanceTimeoutMs: 4_000,
        transactionTimeoutMs: 2_000,
      }),
    );
  }

  ready(): Promise<void> {
    return this.#manager.ready();
  }

  async add(key: string): Promise<'applied' | 'notApplied' | 'unknown'> {
    try {
      await this.#manager.streams.totals.command('add', { key, args: [1], timeoutMs: CALL_TIMEOUT_MS });
      return 'applied';
    } catch (error) {
      return saysNotApplied(error) ? 'notApplied' : 'unknown';
    }
  }

  async all() {
    return [...(await this.#manager.streams.totals.queryAll('all', { timeoutMs: QUERY_TIMEOUT_MS }))];
  }

  async describe(): Promise<string> {
    const { partitions } = await this.#manager.stats();
    return `${this.#manager.state}: ${partitions.map(({ partition, state }) => `${partition} ${state}`).join(', ')}`;
  }

  stop(options?: { readonly deadlineMs: number }): Promise<void> {
    return this.#manager.stop(options);
  }
}

function streams(of: string) {
  const url = new URL('../fixtures/totals-processor.js', import.meta.url);
  if (of !== '') url.searchParams.set('of', of);
  return { totals: processorAt<typeof totals>(url) };
}

/** Another member's partition, or an actor that ended before: then it has not happened, and never will. */
function saysNotApplied(error: unknown): boolean {
  if (isPartitaError(error, 'PARTITION_NOT_OWNED') || isPartitaError(error, 'ACTOR_RECOVERING')) return true;
  return isPartitaError(error, 'ACTOR_RESTARTED') && error.details['outcome'] === 'notApplied';
}
