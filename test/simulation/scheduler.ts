/**
 * Owns the order of everything in a simulated world: the clock, and every message that is under way between processes,
 * threads, disks and the log. A message waits until the scheduler picks it; those of one line keep their order, as on a
 * port or a connection. It knows nothing of what the messages say; what is done at each step decides `world.ts`.
 */
import { createHash } from 'node:crypto';
import type { Clock, Timer } from '../../src/core/clock.js';
import { ManualClock } from '../../src/core/clock.js';
import type { SeededRandom } from '../support/seeded-random.js';

/** What lives and dies as one: a process, or a thread of it. */
export class Owner {
  readonly name: string;
  readonly parent: Owner | undefined;
  #dead = false;
  #frozen = false;
  readonly timers = new Set<object>();
  readonly #deferred: (() => void)[] = [];

  constructor(name: string, parent?: Owner) {
    this.name = name;
    this.parent = parent;
  }

  get dead(): boolean {
    return this.#dead || this.parent?.dead === true;
  }

  get frozen(): boolean {
    return this.#frozen || this.parent?.frozen === true;
  }

  die(): void {
    this.#dead = true;
  }

  freeze(): void {
    this.#frozen = true;
  }

  /** Timers that fell due meanwhile fire now. */
  thaw(): void {
    this.#frozen = false;
    for (const fn of this.#deferred.splice(0)) fn();
  }

  /** Calls at once, after the thaw, or never. */
  fire(fn: () => void): void {
    if (this.dead) return;
    if (!this.frozen) fn();
    else
      (this.parent?.frozen === true ? this.parent : this).#deferred.push(() => {
        this.fire(fn);
      });
  }
}

/** `lost`: it never arrives, and who waits for it learns of that. `late`: it arrives when nobody waits any more. */
export type Delivery = 'arrives' | 'lost' | 'torn' | 'late';

interface Message {
  readonly line: string;
  readonly text: string;
  readonly owner: Owner;
  readonly canBe: readonly Delivery[];
  readonly settle: (delivery: Delivery) => void;
}

/** Turns of the event loop within one step: more is a loop that never rests. */
const TURNS_MAX = 20_000;

export class Scheduler {
  readonly clock = new ManualClock(1_767_225_600_000);
  readonly story: string[] = [];
  readonly #messages: Message[] = [];
  /** Until when nothing on a line moves, by line. */
  readonly #stalled = new Map<string, number>();
  readonly #hash = createHash('sha256');
  readonly #turns: () => number;

  /** @param pending how many immediates the world waits for */
  constructor(pending: () => number) {
    this.#turns = pending;
  }

  tell(text: string): void {
    const line = `${this.clock.monotonic().toFixed(0).padStart(7)} ms  ${text}`;
    this.story.push(line);
    this.#hash.update(line);
  }

  get hash(): string {
    return this.#hash.copy().digest('hex').slice(0, 16);
  }

  /** Resolves when the message arrives; never if its owner dies before. */
  hold(
    line: string,
    text: string,
    owner: Owner,
    canBe: readonly Delivery[] = ['arrives'],
  ): Promise<Delivery> {
    return new Promise((settle) => {
      if (!owner.dead) this.#messages.push({ line, text, owner, canBe, settle });
    });
  }

  get underWay(): readonly string[] {
    return this.#messages.map(({ text }) => text);
  }

  /** Forgets what the dead have said or were to hear. */
  cut(): void {
    const alive = this.#messages.filter(({ owner }) => !owner.dead);
    this.#messages.splice(0, this.#messages.length, ...alive);
  }

  /** Nothing on a line of a random message moves for a while. What was stalled. */
  stall(random: SeededRandom, ms: number): string | undefined {
    const movable = this.#movable();
    if (movable.length === 0) return undefined;
    const { line } = random.pick(movable);
    this.#stalled.set(line, this.clock.monotonic() + ms);
    return line;
  }

  /** The same for the first line whose waiting message says so. Whose message it is. */
  stallWhere(says: string, ms: number): Owner | undefined {
    const message = this.#messages.find(({ text }) => text.includes(says));
    if (message !== undefined) this.#stalled.set(message.line, this.clock.monotonic() + ms);
    return message?.owner;
  }

  /** Settles the first waiting message that says so in this way, in front of all others of its line. Whether there was one. */
  deliverWhere(says: string, delivery: Delivery): boolean {
    const at = this.#messages.findIndex(
      ({ text, canBe, owner }) => text.includes(says) && canBe.includes(delivery) && !owner.frozen,
    );
    if (at < 0) return false;
    const [message] = this.#messages.splice(at, 1);
    this.tell(`${message!.text}: ${delivery}`);
    message!.settle(delivery);
    return true;
  }

  stallLine(line: string, ms: number): void {
    this.#stalled.set(line, this.clock.monotonic() + ms);
  }

  unstall(): void {
    this.#stalled.clear();
  }

  /** Delivers one message; whether there was any that could move. */
  deliver(random: SeededRandom, fate: (canBe: readonly Delivery[], text: string) => Delivery): boolean {
    const movable = this.#movable();
    if (movable.length === 0) return false;
    const message = random.pick(movable);
    this.#messages.splice(this.#messages.indexOf(message), 1);
    const delivery = fate(message.canBe, message.text);
    this.tell(delivery === 'arrives' ? message.text : `${message.text}: ${delivery}`);
    message.settle(delivery);
    return true;
  }

  /** The first of each line whose owner runs. */
  #movable(): Message[] {
    const seen = new Set<string>();
    const now = this.clock.monotonic();
    return this.#messages.filter(({ line, owner }) => {
      if (seen.has(line)) return false;
      seen.add(line);
      return !owner.frozen && (this.#stalled.get(line) ?? 0) <= now;
    });
  }

  /** Lets everything happen that can without the clock and without messages; or only so many turns of the event loop. */
  async settle(turnsMax = TURNS_MAX): Promise<void> {
    for (let turn = 0; turn < turnsMax; turn++) {
      await turnOfTheLoop();
      if (this.#turns() === 0) return;
    }
    if (turnsMax === TURNS_MAX) throw new Error('Something loops for ever without waiting for anything.');
  }
}

/** Taken before any world replaces it. */
const immediate = globalThis.setImmediate;

function turnOfTheLoop(): Promise<void> {
  return new Promise((resolve) => immediate(resolve));
}

/** A clock as a process or thread has it: its timers die and freeze with it. */
export class OwnedClock implements Clock {
  readonly #clock: ManualClock;
  readonly #owner: Owner;

  constructor(clock: ManualClock, owner: Owner) {
    this.#clock = clock;
    this.#owner = owner;
  }

  now(): number {
    return this.#clock.now();
  }

  monotonic(): number {
    return this.#clock.monotonic();
  }

  setTimer(ms: number, fn: () => void): Timer {
    const token = {};
    const { timers } = this.#owner;
    let cancelled = false;
    timers.add(token);
    const timer = this.#clock.setTimer(ms, () => {
      this.#owner.fire(() => {
        timers.delete(token);
        if (!cancelled) fn();
      });
    });
    return {
      cancel: () => {
        cancelled = true;
        timers.delete(token);
        timer.cancel();
      },
    };
  }

  async sleep(ms: number, signal?: AbortSignal): Promise<void> {
    const over = new AbortController();
    const onAbort = (): void => {
      over.abort(signal?.reason);
    };
    if (signal?.aborted === true) onAbort();
    signal?.addEventListener('abort', onAbort, { once: true });
    // The manual clock's own sleep rejects as the port says; the owner's death only keeps it from resolving.
    await new Promise<void>((resolve, reject) => {
      const timer = this.setTimer(ms, resolve);
      const end = (): void => {
        timer.cancel();
        this.#clock.sleep(0, over.signal).catch(reject);
      };
      if (over.signal.aborted) end();
      else over.signal.addEventListener('abort', end, { once: true });
    }).finally(() => {
      signal?.removeEventListener('abort', onAbort);
    });
  }
}
