/**
 * Says in memory that outlives the thread which of the user's calls an actor is in, so that the manager knows after a death
 * what killed; and counts how far its asynchronous calls get, so that one that never settles is noticed. It is written
 * before every record: plain stores, which nobody reads before the thread is gone. Next: `manager/suspects.ts`.
 */
import { PROGRESS } from '../threads/protocol.js';

export class CallMark {
  readonly #numbers: Int32Array;
  readonly #calls: Float64Array;
  #beats = 0;

  constructor(progress: SharedArrayBuffer) {
    this.#numbers = new Int32Array(progress);
    this.#calls = new Float64Array(progress);
  }

  /** The record at this offset of the spec's input is being processed. */
  record(input: number, offset: number): void {
    this.#numbers[PROGRESS.input] = input;
    this.#calls[PROGRESS.call] = offset + 1;
  }

  /** A query, timer or closing, or the processor's `init`, is being run. */
  call(): void {
    this.#numbers[PROGRESS.input] = -1;
    this.#calls[PROGRESS.call] = 1;
  }

  /** The command with this number is being run; no incarnation after this one may run it again. */
  command(seq: number): void {
    this.#calls[PROGRESS.startedCommand] = seq;
    this.call();
  }

  /** What was begun has returned a promise; others of the thread run until it settles. */
  pending(): void {
    this.#beats++;
    this.#calls[PROGRESS.call] = -Math.abs(this.#calls[PROGRESS.call]!);
  }

  /** Nothing of the user's is under way. */
  none(): void {
    this.#calls[PROGRESS.call] = 0;
  }

  /** One of several calls that a record, command or timer waits for has settled. */
  beat(): void {
    this.#beats++;
  }

  /** A number that changes with every call that settles; `undefined` while none is waited for. */
  get waiting(): number | undefined {
    return this.#calls[PROGRESS.call]! < 0 ? this.#beats : undefined;
  }

  /** The record under way: its input, by index, and its offset. */
  get at(): { readonly input: number; readonly offset: number } | undefined {
    const call = Math.abs(this.#calls[PROGRESS.call]!);
    const input = this.#numbers[PROGRESS.input]!;
    return call === 0 || input < 0 ? undefined : { input, offset: call - 1 };
  }
}
