/**
 * Who has written for a partition, in the order in which the log took it, and what of that the log had taken when it told a
 * member its partitions. From it follows whether an actor may go on with what it holds. It only listens.
 */
import type { FaultInfo, LogOperation } from '../../src/log/embedded/log-faults.js';
import type { CommitOutcome, CommitRequest } from '../../src/core/log-types.js';

interface Commit {
  readonly clientId: string;
  readonly at: number;
}

export class Holders {
  #now = 0;
  readonly #commits = new Map<number, Commit>();
  /** When a client last became or was the holder, by `client partition`. */
  readonly #held = new Map<string, number>();
  /** The commits as they were when a client's newest assignment was made. */
  readonly #assigned = new Map<string, ReadonlyMap<number, Commit>>();

  /** The log has just done it. What is to be called when its answer arrives. */
  took(operation: LogOperation, { clientId, transactionalId, request, answer }: FaultInfo): () => void {
    this.#now++;
    if (operation === 'assign') {
      const commits = new Map(this.#commits);
      return () => this.#assigned.set(clientId, commits);
    }
    const partition = partitionOf(operation, transactionalId, request);
    if (partition !== undefined && (operation === 'init' || (answer as CommitOutcome).kind === 'committed')) {
      this.#held.set(`${clientId} ${partition}`, this.#now);
      if (operation === 'commit') this.#commits.set(partition, { clientId, at: this.#now });
    }
    return () => undefined;
  }

  /** Who has committed since the client held the partition, as far as the log knew with its newest assignment. */
  between(clientId: string, partition: number): string | undefined {
    const commit = this.#assigned.get(clientId)?.get(partition);
    if (commit === undefined || commit.clientId === clientId) return undefined;
    return commit.at > (this.#held.get(`${clientId} ${partition}`) ?? 0) ? commit.clientId : undefined;
  }
}

function partitionOf(
  operation: LogOperation,
  transactionalId: string | undefined,
  request: unknown,
): number | undefined {
  if (operation === 'commit') return (request as CommitRequest).offsets[0]?.partition;
  return operation === 'init' ? Number(/\d+$/.exec(transactionalId ?? '')?.[0]) : undefined;
}
