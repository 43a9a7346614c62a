/**
 * Who killed a thread, and whether a record does so each time: decisions from what dead actors left in shared memory. A death
 * counts against the actors that were in one of the user's calls, and only against those; a record in which one incarnation
 * after the other has died is a suspect, and after `DEATHS_MAX` of them poison. The acting is `partition-keeper.ts` and, in
 * the worker, `actor/suspect-approach.ts`.
 */
import { describeError, isPartitaError } from '../core/errors.js';
import { PROGRESS, type ActorSpec, type SuspectRecord } from '../threads/protocol.js';

/** So many incarnations in a row that end in the same record make it poison. */
const DEATHS_MAX = 3;

/** One of the user's calls that an actor was in. */
export interface CallUnderWay {
  /** It was on the stack. Otherwise its promise was waited for, and others of the thread may have run. */
  readonly running: boolean;
  /** `undefined` for a command, a query, a timer or a closing. */
  readonly record: RecordAt | undefined;
}

interface RecordAt {
  readonly topic: string;
  readonly offset: number;
}

/** What the actor of this spec was in when its thread died. */
export function callUnderWay(spec: Pick<ActorSpec, 'inputs' | 'progress'>): CallUnderWay | undefined {
  const call = new Float64Array(spec.progress)[PROGRESS.call]!;
  if (call === 0) return undefined;
  const topic = spec.inputs[new Int32Array(spec.progress)[PROGRESS.input]!]?.topic;
  const offset = Math.abs(call) - 1;
  return { running: call > 0, record: topic === undefined ? undefined : { topic, offset } };
}

/**
 * Against which of a dead thread's actors its death counts: the one that was running; if none was, those that waited for a
 * call of theirs; if none did, all, since it may have been any.
 */
export function accused<T>(calls: ReadonlyMap<T, CallUnderWay | undefined>): ReadonlySet<T> {
  const having = (condition: (call: CallUnderWay | undefined) => boolean): ReadonlySet<T> =>
    new Set([...calls].filter(([, call]) => condition(call)).map(([actor]) => actor));
  const running = having((call) => call?.running === true);
  if (running.size > 0) return running;
  const waiting = having((call) => call !== undefined);
  return waiting.size > 0 ? waiting : having(() => true);
}

/** What one partition's incarnations have died of, one after the other. */
export class Suspicion {
  #suspect: Omit<SuspectRecord, 'isPoison'> | undefined;

  /** The record that the next incarnation must be careful with. */
  get suspect(): SuspectRecord | undefined {
    const suspect = this.#suspect;
    return suspect === undefined ? undefined : { ...suspect, isPoison: suspect.deaths.length >= DEATHS_MAX };
  }

  /** An incarnation died in this call, or (stuck) with it. Ends for other reasons prove nothing. */
  died(call: CallUnderWay | undefined, error: unknown): void {
    const record = call?.record;
    if (record === undefined) return;
    const before = this.#suspect;
    const same = before?.topic === record.topic && before.offset === record.offset;
    this.#suspect = { ...record, deaths: [...(same ? before.deaths : []), describeError(error)] };
  }

  /** What is committed has been survived. @returns whether nothing is suspected any more */
  committed(offsets: readonly RecordAt[]): boolean {
    const suspect = this.#suspect;
    if (
      suspect !== undefined &&
      offsets.some((at) => at.topic === suspect.topic && at.offset > suspect.offset)
    )
      this.#suspect = undefined;
    return this.#suspect === undefined;
  }
}

/** A handler that did not settle in time says itself which record it was in: its thread goes on. */
export function stuckIn(error: unknown): CallUnderWay | undefined {
  if (!isPartitaError(error, 'ACTOR_STUCK')) return undefined;
  const { topic, offset } = error.details;
  const record = typeof topic === 'string' && typeof offset === 'number' ? { topic, offset } : undefined;
  return { running: true, record };
}
