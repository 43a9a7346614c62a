/**
 * A log, a state directory and the managers that a test starts on them: all of it ends with the test, whatever became of
 * it, and no directory may then be held any more.
 */
import assert from 'node:assert/strict';
import {
  embeddedLog,
  isPartitaError,
  StateManager,
  type EmbeddedLog,
  type EmbeddedLogOptions,
  type ErrorCode,
  type LogFactory,
  type ManagerOptions,
  type Streams,
} from '../../src/index.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import { temporaryDirectory } from './temporary-directory.js';

/** For options that hold for every manager of the file. */
type Defaults = Partial<Omit<ManagerOptions, 'streams'>>;

export class ManagerDesk<L extends LogFactory = EmbeddedLog> {
  readonly log: L;
  readonly stateDir: string;
  readonly #defaults: Defaults;
  readonly #closeLog: () => Promise<void>;
  readonly #managers: StateManager[] = [];

  private constructor(log: L, stateDir: string, defaults: Defaults, closeLog: () => Promise<void>) {
    this.log = log;
    this.#closeLog = closeLog;
    this.stateDir = stateDir;
    this.#defaults = defaults;
  }

  static async open(defaults: Defaults = {}, logOptions: EmbeddedLogOptions = {}): Promise<ManagerDesk> {
    const log = await embeddedLog(logOptions);
    return new ManagerDesk(log, temporaryDirectory('managers'), defaults, () => log.close());
  }

  /** On a log that stays open when the desk is closed. */
  static async openOn<L extends LogFactory>(log: L, defaults: Defaults = {}): Promise<ManagerDesk<L>> {
    return new ManagerDesk(log, temporaryDirectory('managers'), defaults, () => Promise.resolve());
  }

  /** @param log ends with the desk */
  static async on<L extends LogFactory & { close(): Promise<void> }>(
    log: L,
    defaults: Defaults = {},
  ): Promise<ManagerDesk<L>> {
    return new ManagerDesk(log, temporaryDirectory('managers'), defaults, () => log.close());
  }

  /** One worker and a checkpoint every 20 ms, if neither the desk nor the test says otherwise. */
  async start<R extends Streams>(
    streams: R,
    options: Partial<ManagerOptions<R>> = {},
  ): Promise<StateManager<R>> {
    const { log, stateDir } = this;
    const manager = await StateManager.start({
      group: 'g',
      streams,
      log,
      stateDir,
      workers: 1,
      checkpoint: { intervalMs: 20 },
      ...this.#defaults,
      ...options,
    });
    this.#managers.push(manager);
    return manager;
  }

  async close(): Promise<void> {
    await Promise.allSettled(this.#managers.map((manager) => manager.stop({ deadlineMs: 3_000 })));
    await this.#closeLog();
    // Another desk of the process may still hold its own.
    assert.deepEqual(
      heldDirectories().filter((directory) => directory.startsWith(this.stateDir)),
      [],
    );
  }
}

/** For `assert.rejects`: an error of Partita with one of these codes. */
export const code =
  (...codes: ErrorCode[]) =>
  (error: unknown): boolean => {
    assert.ok(
      codes.some((each) => isPartitaError(error, each)),
      String(error),
    );
    return true;
  };
