/**
 * Typed events over eventemitter3. Events inform; nothing in Partita needs a listener for its correctness. Unlike Node's
 * EventEmitter, eventemitter3 is silent for an `error` event that nobody hears: a failure is therefore always a rejected
 * promise as well, and an event in addition.
 */
import { EventEmitter } from 'eventemitter3';
import { silentLogger, type Logger } from './logger.js';

/** Events by name, each with the one object its listeners get. */
export type EventMap = object;

export type Listener<E> = (event: E) => void;

/** The side that listens. */
export interface EventSource<M extends EventMap> {
  on<N extends keyof M & string>(name: N, listener: Listener<M[N]>): this;
  once<N extends keyof M & string>(name: N, listener: Listener<M[N]>): this;
  off<N extends keyof M & string>(name: N, listener: Listener<M[N]>): this;
}

/** Of each name, while they are held. */
const HELD_MAX = 1_000;

export class Emitter<M extends EventMap> implements EventSource<M> {
  /** Listeners, and those of them that were there before `hold`. */
  #events = new EventEmitter();
  #insiders = new EventEmitter();
  #held: { readonly name: keyof M & string; readonly event: unknown }[] | undefined;
  readonly #heldOf = new Map<string, number>();
  readonly #logger: Logger;
  /** One guarded form per listener, so that `off` finds what `on` added. */
  readonly #guarded = new WeakMap<(event: never) => void, (event: unknown) => void>();

  /** @param logger is told of a listener that throws */
  constructor(logger: Logger = silentLogger) {
    this.#logger = logger;
  }

  on<N extends keyof M & string>(name: N, listener: Listener<M[N]>): this {
    this.#events.on(name, this.#guard(listener));
    return this;
  }

  once<N extends keyof M & string>(name: N, listener: Listener<M[N]>): this {
    this.#events.once(name, this.#guard(listener));
    return this;
  }

  off<N extends keyof M & string>(name: N, listener: Listener<M[N]>): this {
    this.#events.off(name, this.#guard(listener));
    this.#insiders.off(name, this.#guard(listener));
    return this;
  }

  /**
   * Whoever listens from now on is told nothing until `release`, and then everything since, in order: the first 1,000 events of
   * each name. Those that listen already go on. Call it once.
   */
  hold(): void {
    this.#insiders = this.#events;
    this.#events = new EventEmitter();
    this.#held = [];
  }

  /** Does nothing if nothing is held. */
  release(): void {
    const held = this.#held ?? [];
    this.#held = undefined;
    for (const { name, event } of held) this.#events.emit(name, event);
  }

  /** Calls the listeners at once, in the order they were added, unless it is held; returns whether there was one. */
  emit<N extends keyof M & string>(name: N, event: M[N]): boolean {
    const heard = this.#insiders.emit(name, event);
    if (this.#held === undefined) return this.#events.emit(name, event) || heard;
    const before = this.#heldOf.get(name) ?? 0;
    if (before < HELD_MAX) this.#held.push({ name, event });
    this.#heldOf.set(name, before + 1);
    return heard;
  }

  listenerCount(name: keyof M & string): number {
    return this.#insiders.listenerCount(name) + this.#events.listenerCount(name);
  }

  removeAllListeners(): void {
    this.#insiders.removeAllListeners();
    this.#events.removeAllListeners();
  }

  /** A listener's fault is its own: it must break neither the commit that reported nor the listeners after it. */
  #guard<E>(listener: Listener<E>): (event: unknown) => void {
    const existing = this.#guarded.get(listener);
    if (existing !== undefined) return existing;
    const guarded = (event: unknown): void => {
      try {
        listener(event as E);
      } catch (error) {
        this.#logger.error({ err: error }, 'A listener of an event threw.');
      }
    };
    this.#guarded.set(listener, guarded);
    return guarded;
  }
}
