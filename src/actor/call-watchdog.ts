/**
 * Notices that one of the user's calls, whose promise an actor waits for, does not settle in time: from the marks that the actor
 * sets (`call-mark.ts`). It ends nothing itself. A call that blocks the thread is the main thread's to notice.
 */
import { Watchdog } from '../core/watchdog.js';
import type { PartitaError } from '../core/errors.js';
import type { ActorSpec } from '../threads/protocol.js';
import type { ActorEnvironment } from './actor-environment.js';
import { stuckError } from './actor-errors.js';
import type { CallMark } from './call-mark.js';

export class CallWatchdog {
  readonly #spec: ActorSpec;
  readonly #mark: CallMark;
  readonly #watchdog: Watchdog;
  readonly #onStuck: (error: PartitaError) => void;
  #unwatch: () => void = () => undefined;

  /** @param onStuck called once, with ACTOR_STUCK */
  constructor(
    spec: ActorSpec,
    mark: CallMark,
    { clock, isDebugged = () => false }: ActorEnvironment,
    onStuck: (error: PartitaError) => void,
  ) {
    this.#spec = spec;
    this.#mark = mark;
    this.#onStuck = onStuck;
    this.#watchdog = new Watchdog({ clock, limitMs: spec.options.watchdogMs, isDebugged });
  }

  start(): void {
    this.#unwatch = this.#watchdog.watch(
      () => this.#mark.waiting,
      () => {
        this.#onStuck(stuckError(this.#spec, this.#mark.at));
      },
    );
  }

  /** Idempotent. */
  stop(): void {
    this.#unwatch();
  }
}
