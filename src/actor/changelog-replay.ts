/**
 * Replays pages of the changelog into the database: each page is one atomic write with its offset, resets drop what stood
 * before them, and a stop is heeded between two pages. From where and whether at all is decided by `state-recovery.ts`.
 */
import { compareBytes } from '../codec/keys.js';
import { readBatchHeader } from '../codec/record-batch-header.js';
import { RecordReader } from '../codec/record-batch-reader.js';
import { CHECKPOINT_KEY, RESET_KEY, storeResetOf } from '../changelog/checkpoint-record.js';
import { isOfStore, storeRanges } from '../changelog/store-families.js';
import type { Clock } from '../core/clock.js';
import { PartitaError } from '../core/errors.js';
import type { LogPage } from '../core/log-types.js';
import type { EngineWrite } from '../storage/storage-engine.js';
import type { StorePartition } from '../storage/store-partition.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';

const PROGRESS_EVERY_MS = 500;

export interface ChangelogReplayOptions {
  readonly spec: ActorSpec;
  readonly uplink: ActorUplink;
  readonly clock: Clock;
  /** Throws when the actor is to stop. */
  readonly checkStopped: () => void;
}

/** What a page says, in the end. */
interface ScannedPage {
  /** The last one after the last reset. */
  readonly checkpointRecord: Uint8Array | undefined;
  /** Everything before the page is given up. */
  readonly reset: boolean;
  /** Stores of which everything before the page is given up. */
  readonly dropped: readonly string[];
  readonly writes: readonly EngineWrite[];
}

export class ChangelogReplay {
  readonly #options: ChangelogReplayOptions;
  #records = 0;
  #bytes = 0;

  constructor(options: ChangelogReplayOptions) {
    this.#options = options;
  }

  /** Records that were applied. */
  get records(): number {
    return this.#records;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Applies what lies in [from, end). */
  replay(partition: StorePartition, from: number, end: number): Promise<void> {
    return this.#eachPage(from, end, (page) => this.#applyPage(partition, page));
  }

  /** The last checkpoint record in [start, end) that counts; the database is not touched. */
  async findCheckpoint(start: number, end: number): Promise<Uint8Array | undefined> {
    let found: Uint8Array | undefined;
    await this.#eachPage(start, end, (page) => {
      const { checkpointRecord, reset } = this.#scanPage(page, false);
      if (checkpointRecord !== undefined || reset) found = checkpointRecord?.slice();
      return Promise.resolve();
    });
    return found;
  }

  /** Reads ahead: the next page is fetched while the present one is applied. */
  async #eachPage(from: number, end: number, apply: (page: LogPage) => Promise<void>): Promise<void> {
    const { uplink, spec, clock } = this.#options;
    const maxBytes = spec.options.recoveryPageBytes;
    const startedAt = clock.monotonic();
    let reportAt = startedAt + PROGRESS_EVERY_MS;
    let ahead = from < end ? uplink.readChangelog({ from, maxBytes }) : undefined;
    while (ahead !== undefined) {
      const page = await ahead;
      this.#options.checkStopped();
      if (page.next <= page.from) throw this.#noProgress(page, end);
      ahead = page.next < end ? uplink.readChangelog({ from: page.next, maxBytes }) : undefined;
      // Whatever fails first is thrown; the page that was read ahead must not fail unheard.
      ahead?.catch(() => undefined);
      await apply(page);
      const now = clock.monotonic();
      if (now >= reportAt || ahead === undefined) {
        reportAt = now + PROGRESS_EVERY_MS;
        const seconds = Math.max(now - startedAt, 1) / 1000;
        uplink.event({
          type: 'recovery',
          records: this.#records,
          rate: this.#records / seconds,
          remaining: Math.max(0, end - page.next),
        });
      }
    }
  }

  #noProgress({ from }: LogPage, end: number): PartitaError {
    const topic = this.#options.spec.changelog!.topic;
    const { partition } = this.#options.spec.id;
    return new PartitaError(
      'LOG_UNAVAILABLE',
      `The log gave nothing of ${topic}-${String(partition)} at offset ${String(from)}, before its end ${String(end)}.`,
      { details: { topic, partition, offset: from, end } },
    );
  }

  async #applyPage(partition: StorePartition, page: LogPage): Promise<void> {
    const { checkpointRecord, reset, dropped, writes } = this.#scanPage(page, true);
    if (reset) await partition.rebuild();
    else for (const store of dropped) await this.#dropStore(partition, store);
    this.#records += writes.length;
    this.#bytes += page.bytes.byteLength;
    // Of a page that compaction has emptied there is no time: the state is as old as what stands before it.
    const appendTime = Math.max(lastAppendTime(page), partition.appendTime);
    const position = { offset: page.next - 1, appendTime, sync: false };
    await partition.apply(
      writes,
      checkpointRecord === undefined ? position : { ...position, checkpointRecord },
    );
  }

  /**
   * Deletes a store's rows in bounded batches, at the position as it is: after a crash in between the reset record is met
   * again, since it lies behind that position.
   */
  async #dropStore(partition: StorePartition, store: string): Promise<void> {
    const { offset, appendTime } = partition;
    if (offset < 0) return;
    const snapshot = partition.snapshot();
    try {
      for (const range of storeRanges(store)) {
        const scan = snapshot.scan(range);
        for (let rows = await scan.next(); rows.length > 0; rows = await scan.next()) {
          this.#options.checkStopped();
          const deletes = rows.map(([key]) => ({ key, value: null }));
          await partition.apply(deletes, { offset, appendTime, sync: false });
        }
        await scan.close();
      }
    } finally {
      await snapshot.close();
    }
  }

  /** Walks the records of a page; checkpoint and reset records are told apart from the stores' records. */
  #scanPage(page: LogPage, wantsWrites: boolean): ScannedPage {
    const { spec } = this.#options;
    const reader = new RecordReader({ checkCrc: spec.options.checkCrc });
    reader.load(page.bytes, {
      from: page.from,
      aborted: page.aborted,
      topic: spec.changelog!.topic,
      partition: spec.id.partition,
    });
    let checkpointRecord: Uint8Array | undefined;
    let reset = false;
    let dropped: string[] = [];
    let writes: EngineWrite[] = [];
    while (reader.next()) {
      const key = reader.key();
      if (key === null) throw this.#noKey(reader.offset);
      const value = reader.value();
      const store = storeResetOf(key);
      if (sameBytes(key, CHECKPOINT_KEY)) checkpointRecord = value ?? undefined;
      else if (sameBytes(key, RESET_KEY)) {
        reset = true;
        checkpointRecord = undefined;
        dropped = [];
        writes = [];
      } else if (store !== undefined) {
        writes = writes.filter((write) => !isOfStore(write.key, store));
        dropped.push(store);
      } else if (wantsWrites) writes.push({ key, value });
    }
    return { checkpointRecord, reset, dropped, writes };
  }

  #noKey(offset: number): PartitaError {
    const topic = this.#options.spec.changelog!.topic;
    const { partition } = this.#options.spec.id;
    return new PartitaError(
      'CHANGELOG_INVALID',
      `${topic}-${String(partition)} offset ${String(offset)} has no key: it is not a changelog of Partita.`,
      { details: { topic, partition, offset } },
    );
  }
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && compareBytes(a, b) === 0;
}

/** Largest timestamp of the page's last batch: its append time, since changelogs are stamped by the log. */
function lastAppendTime(page: LogPage): number {
  const bytes = Buffer.from(page.bytes);
  let appendTime = -1;
  for (let at = 0; ;) {
    const header = readBatchHeader(bytes, at);
    if (header === undefined) return appendTime;
    appendTime = Math.max(appendTime, header.maxTimestamp);
    at = header.end;
  }
}
