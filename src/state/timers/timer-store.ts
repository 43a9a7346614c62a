/**
 * One declared timer: checks and encodes what handlers schedule and cancel, and hands it to the source of its clock. What
 * it keeps is in the same layers, changelog and recovery as stores; queries see nothing of it.
 */
import { PartitaError, isPartitaError } from '../../core/errors.js';
import type { TimerHandler } from '../../processor/define-processor.js';
import type { Serde } from '../../processor/serde.js';
import { timerFamily, type TimerOptions } from '../../processor/timers.js';
import type { StoreParts } from '../declared-store.js';
import type { DueSource } from '../due-source.js';
import type { RecordScope } from '../record-scope.js';
import { serdeFailed, showKey } from '../serde-failure.js';
import { StoreKeys } from '../store-keys.js';
import { timerPayload, type TimerPayload } from './timer-payload.js';
import { TimerSource } from './timer-source.js';

/** What a processor's timers are made of. */
export interface TimersDeclaration {
  /** Of the first input. */
  readonly key: Serde<unknown>;
  readonly handlers: Readonly<Record<string, TimerHandler>>;
}

type Schedule = ((key: unknown, atMs: number, payload?: unknown, options?: TimerOptions) => void) & {
  readonly cancel: (key: unknown, atMs: number, options?: TimerOptions) => void;
};

export class TimerStore {
  readonly name: string;
  readonly sources: readonly DueSource[];
  readonly #family: string;
  readonly #keys: StoreKeys;
  readonly #event: TimerSource;
  readonly #wall: TimerSource;

  /** @param parts of which the name is replaced */
  constructor(name: string, { key, handlers }: TimersDeclaration, parts: Omit<StoreParts, 'name'>) {
    this.name = name;
    this.#family = timerFamily(name);
    this.#keys = new StoreKeys(this.#family, key);
    const source = (domain: 'event' | 'wall') =>
      new TimerSource(
        { timer: name, domain, handler: handlers[name]!, keySerde: key, keys: this.#keys },
        { ...parts, name: this.#family },
      );
    this.#event = source('event');
    this.#wall = source('wall');
    this.sources = [this.#event, this.#wall];
  }

  /** As handlers see it while the scope is open. */
  view(scope: RecordScope): Schedule {
    const schedule = (key: unknown, atMs: number, payload?: unknown, options?: TimerOptions): void => {
      scope.check();
      this.#schedule(key, atMs, payload, options);
    };
    const cancel = (key: unknown, atMs: number, options?: TimerOptions): void => {
      scope.check();
      this.#source(options).cancel(this.#time(atMs), this.#keyText(key));
    };
    return Object.freeze(Object.assign(schedule, { cancel }));
  }

  prepare(): void {
    this.#event.prepare();
    this.#wall.prepare();
  }

  clear(): void {
    this.#event.clear();
    this.#wall.clear();
  }

  #schedule(key: unknown, atMs: number, payload: unknown, options: TimerOptions | undefined): void {
    const source = this.#source(options);
    const time = this.#time(atMs);
    const keyText = this.#keyText(key);
    const held = this.#payload(key, payload);
    try {
      source.schedule(time, keyText, held);
    } catch (error) {
      throw isPartitaError(error, 'RECORD_TOO_LARGE') ? this.#tooLarge(key, time, error) : error;
    }
  }

  #source(options: TimerOptions | undefined): TimerSource {
    const clock: string = options?.clock ?? 'event';
    if (clock === 'event') return this.#event;
    if (clock === 'wall') return this.#wall;
    throw new PartitaError(
      'INVALID_ARGUMENT',
      `The clock of the timer ${this.name} is 'event' or 'wall', not ${JSON.stringify(clock)}.`,
      { details: { timer: this.name } },
    );
  }

  #time(atMs: number): number {
    // -0 is 0.
    if (Number.isSafeInteger(atMs) && atMs >= 0) return atMs + 0;
    throw new PartitaError(
      'INVALID_ARGUMENT',
      `The timer ${this.name} is scheduled at a whole number of ms since 1970, from 0 on, not at ${String(atMs)}.`,
      { details: { timer: this.name, atMs: String(atMs) } },
    );
  }

  /** 0 and -0 are one key, as in stores. */
  #keyText(key: unknown): string {
    return this.#keys.keyText(typeof key === 'number' ? key + 0 : key);
  }

  #payload(key: unknown, payload: unknown): TimerPayload {
    try {
      return timerPayload(payload);
    } catch (cause) {
      throw serdeFailed('value', this.#family, key, cause);
    }
  }

  #tooLarge(key: unknown, atMs: number, error: PartitaError): PartitaError {
    const { bytes, bytesMax } = error.details as { readonly bytes: number; readonly bytesMax: number };
    return new PartitaError(
      'RECORD_TOO_LARGE',
      `Key and payload of the timer ${this.name} for ${String(showKey(key))} are ${String(bytes)} bytes; the changelog takes at most ${String(bytesMax)}.`,
      { cause: error, details: { timer: this.name, key: showKey(key), atMs, bytes, bytesMax } },
    );
  }
}
