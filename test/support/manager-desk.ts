/**
 * A log, a state directory and the managers that a test starts on them: all of it ends with the test, whatever became of
 * it, and no directory may then be held any more.
 */
import assert from 'node:assert/strict';
import { rm } from 'node:fs/promises';
import {
  embeddedLog,
  isPartitaError,
  StateManager,
  type EmbeddedLog,
  type EmbeddedLogOptions,
  type ErrorCode,
  type ManagerOptions,
  type Streams,
} from '../../src/index.js';
import { heldDirectories } from '../../src/manager/directory-registry.js';
import { temporaryDirectory } from './temporary-directory.js';

/** For options that hold for every manager of the file. */
type Defaults = Partial<Omit<ManagerOptions, 'streams'>>;

export class ManagerDesk {
  readonly log: EmbeddedLog;
  readonly stateDir: string;
  readonly #defaults: Defaults;
  readonly #managers: StateManager[] = [];

  private constructor(log: EmbeddedLog, stateDir: string, defaults: Defaults) {
    this.log = log;
    this.stateDir = stateDir;
    this.#defaults = defaults;
  }

  static async open(defaults: Defaults = {}, logOptions: EmbeddedLogOptions = {}): Promise<ManagerDesk> {
    const stateDir = temporaryDirectory('managers');
    return new ManagerDesk(await embeddedLog(logOptions), stateDir, defaults);
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
    await this.log.close();
    await rm(this.stateDir, { recursive: true, force: true });
    assert.deepEqual(heldDirectories(), []);
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
