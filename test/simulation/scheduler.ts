/**
 * Who owns time and order in a simulation: every message between manager, actors, log and storage waits here until the
 * seed picks it, and the clock moves only when the seed says so. Messages of one channel keep their order, as those of a
 * port do; a channel that is frozen delivers nothing, one that is cut never will. It knows nothing of what is simulated.
 */
import { ManualClock } from '../../src/core/clock.js';
import type { SeededRandom } from '../support/seeded-random.js';

/** Turns of the event loop after which only a message or the clock can move anything. */
const TURNS = 6;
const CLOCK_STEP_MS_MAX = 12;
/** Of the steps in which messages wait, so many move the clock all the same. */
const CLOCK_CHANCE = 0.12;

interface Message {
  readonly text: string;
  readonly deliver: () => void;
}

/** Messages in one direction between two parties. */
export class Channel {
  readonly name: string;
  /** Who is frozen with it. */
  readonly owner: string;
  readonly waiting: Message[] = [];
  /** Rejects what would pass, since the party is gone. */
  #cut: (() => Error) | undefined;
  readonly #rejects = new Set<(error: Error) => void>();
  readonly #scheduler: Scheduler;

  constructor(name: string, owner: string, scheduler: Scheduler) {
    this.name = name;
    this.owner = owner;
    this.#scheduler = scheduler;
  }

  /** Resolves when the message is delivered. Rejects if the channel is cut before. */
  pass(text: string): Promise<void> {
    if (this.#cut !== undefined) return Promise.reject(this.#cut());
    if (this.#scheduler.calm) return Promise.resolve();
    return new Promise((resolve, reject) => {
      this.#rejects.add(reject);
      this.waiting.push({
        text,
        deliver: () => {
          this.#rejects.delete(reject);
          resolve();
        },
      });
    });
  }

  cut(error: () => Error): void {
    this.#cut ??= error;
    this.waiting.length = 0;
    for (const reject of this.#rejects) reject(this.#cut());
    this.#rejects.clear();
    this.#scheduler.close(this);
  }
}

export class Scheduler {
  readonly clock = new ManualClock(1_767_225_600_000);
  readonly story: string[] = [];
  /** Nothing is held back any more: for the beginning and the end. */
  calm = false;
  steps = 0;
  readonly #random: SeededRandom;
  readonly #channels = new Set<Channel>();
  readonly #frozen = new Set<string>();

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  channel(name: string, owner = name): Channel {
    const channel = new Channel(name, owner, this);
    this.#channels.add(channel);
    return channel;
  }

  close(channel: Channel): void {
    this.#channels.delete(channel);
  }

  /** A message that is in order with no other. */
  async once(name: string, owner: string, text: string): Promise<void> {
    const channel = this.channel(name, owner);
    try {
      await channel.pass(text);
    } finally {
      this.close(channel);
    }
  }

  /** Its messages wait until it is thawed. */
  freeze(owner: string, isFrozen: boolean): void {
    if (isFrozen) this.#frozen.add(owner);
    else this.#frozen.delete(owner);
  }

  tell(text: string): void {
    this.story.push(`${String(this.steps).padStart(5)} ${String(this.clock.monotonic()).padStart(6)} ms  ${text}`);
  }

  /** Delivers one message, or moves the clock; then everything runs until it waits again. */
  async step(): Promise<void> {
    this.steps++;
    const ready = [...this.#channels].filter(
      ({ waiting, owner }) => waiting.length > 0 && !this.#frozen.has(owner),
    );
    if (ready.length === 0 || this.#random.chance(CLOCK_CHANCE)) await this.#moveClock(ready.length === 0);
    else {
      const channel = this.#random.pick(ready);
      const { text, deliver } = channel.waiting.shift()!;
      this.tell(`${channel.name}: ${text}`);
      deliver();
    }
    await this.settle();
  }

  async settle(): Promise<void> {
    for (let turn = 0; turn < TURNS; turn++) await new Promise((resolve) => setImmediate(resolve));
  }

  /** Everything that waits is delivered, in the order of channels. */
  release(): void {
    this.calm = true;
    this.#frozen.clear();
    for (const channel of this.#channels) for (const { deliver } of channel.waiting.splice(0)) deliver();
  }

  async #moveClock(isIdle: boolean): Promise<void> {
    const next = this.clock.nextTimerAt;
    const toNext = next === undefined ? CLOCK_STEP_MS_MAX : Math.max(0, next - this.clock.now());
    const ms = isIdle ? Math.min(toNext, 1_000) + 1 : this.#random.between(1, CLOCK_STEP_MS_MAX);
    await this.clock.advanceAsync(ms);
  }
}
