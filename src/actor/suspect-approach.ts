/**
 * The way to a record in which the actor has died before: decides where on it checkpoints are taken, so that what lies before
 * is not lost to the next death, and the record comes to be the first one after a checkpoint, alone. Each checkpoint halves
 * what is left of the way; so there are few of them, and each death, wherever it comes, still leaves half of the way behind.
 * Decisions only; `processing-loop.ts` acts.
 */
import { PartitaError } from '../core/errors.js';
import type { ActorId, SuspectRecord } from '../threads/protocol.js';

/**
 * `go`: process it. `commit`: commit first. `suspect`: this is it: commit, process it, commit again. `refuse`: the same, with
 * the error policy in place of the handler. `over`: the suspect lies behind.
 */
export type ApproachStep = 'go' | 'commit' | 'suspect' | 'refuse' | 'over';

export class SuspectApproach {
  /** The suspect lies behind. */
  isOver = false;
  readonly #suspect: SuspectRecord;
  #commitAt: number | undefined;

  constructor(suspect: SuspectRecord) {
    this.#suspect = suspect;
  }

  /** @param offset of the record that is next, in this topic */
  step(topic: string, offset: number): ApproachStep {
    const suspect = this.#suspect;
    if (topic !== suspect.topic) return 'go';
    if (offset > suspect.offset) {
      this.isOver = true;
      return 'over';
    }
    if (offset === suspect.offset) return suspect.isPoison ? 'refuse' : 'suspect';
    const commit = this.#commitAt !== undefined && offset >= this.#commitAt;
    if (commit || this.#commitAt === undefined)
      this.#commitAt = offset + Math.ceil((suspect.offset - offset) / 2);
    return commit ? 'commit' : 'go';
  }
}

/** What the error policy is asked about in place of what the handler might have thrown. */
export function poisonError({ stream, partition }: ActorId, suspect: SuspectRecord): PartitaError {
  const { topic, offset, deaths } = suspect;
  return new PartitaError(
    'POISON_RECORD',
    `The record ${topic}-${String(partition)} offset ${String(offset)} has ended the actor of ${stream} ${String(deaths.length)} times in a row: ${[...new Set(deaths)].join(' ')}`,
    { details: { stream, topic, partition, offset, deaths } },
  );
}
