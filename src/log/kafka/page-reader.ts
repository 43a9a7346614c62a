/**
 * Reads one partition page by page, without a group: for recovery, and whoever wants raw batches. A page is whole batches
 * in a buffer of its own; how far it reaches comes from their headers, so that compacted stretches are passed. It never
 * decodes a record. Offsets alone are `offsets-reader.ts`, long polls of a group `fetcher.ts`.
 */
import { Backoff } from '../../core/backoff.js';
import { PartitaError } from '../../core/errors.js';
import type { LogPage } from '../../core/log-types.js';
import type { ReadRequest } from '../log-client.js';
import type { Cluster } from './cluster.js';
import { BrokerAnswerError } from './kafka-errors.js';
import type { BrokerConnection } from './kafkajs-internals.js';
import { isOutOfRange, type OffsetsReader } from './offsets-reader.js';
import { copyOut, decodeFetch, wholeBatches, type FetchedPartition } from './wire/fetch.js';

/** How long a broker may collect: pages are read where something is, or at the end, which is to be told at once. */
const MAX_WAIT_MS = 0;
/** A leader that has just begun may not know its end yet. */
const EMPTY_BACKOFF = { firstMs: 5, maxMs: 200, attemptsMax: 8 } as const;
const GROWN_BYTES_MAX = 256 << 20;

export class PageReader {
  readonly #cluster: Pick<Cluster, 'clock' | 'errorType' | 'onLeader'>;
  readonly #offsets: Pick<OffsetsReader, 'bounds'>;

  constructor(
    cluster: Pick<Cluster, 'clock' | 'errorType' | 'onLeader'>,
    offsets: Pick<OffsetsReader, 'bounds'>,
  ) {
    this.#cluster = cluster;
    this.#offsets = offsets;
  }

  /** Rejects OFFSET_OUT_OF_RANGE with `bounds` in its details, TOPIC_MISSING, RECORD_BATCH_CORRUPT, LOG_UNAVAILABLE. */
  async read(request: ReadRequest): Promise<LogPage> {
    const backoff = new Backoff(EMPTY_BACKOFF);
    let { maxBytes } = request;
    for (;;) {
      const fetched = await this.#fetch(request, maxBytes);
      if (fetched === undefined) await this.#expectInRange(request);
      const page = fetched === undefined ? undefined : toPage(fetched, request);
      if (page !== undefined) return page;
      const hasBytes = fetched !== undefined && fetched.end > fetched.start;
      const delayMs = backoff.next();
      if (delayMs === undefined) throw nothingAt(request, hasBytes);
      // A broker gives one batch at least, however large (KIP-74); one that doesn't is asked for more.
      if (hasBytes) maxBytes = Math.max(maxBytes, Math.min(maxBytes * 4, GROWN_BYTES_MAX));
      await this.#cluster.clock.sleep(delayMs);
    }
  }

  /** `undefined`: the leader says that the offset is out of its range. */
  async #fetch(request: ReadRequest, maxBytes: number): Promise<FetchedPartition | undefined> {
    const { topic, partition, from } = request;
    const what = `Reading ${topic}-${partition} from offset ${from}`;
    return this.#cluster.onLeader(
      request,
      'read',
      what,
      async (connection) => {
        const fetched = await fetchOne(connection, request, maxBytes);
        const type = this.#cluster.errorType(fetched.errorCode);
        if (type === 'OFFSET_OUT_OF_RANGE') return undefined;
        if (type !== 'NONE')
          throw new BrokerAnswerError(type, `The leader of ${topic}-${partition} answered ${type}.`);
        return fetched;
      },
      { details: { offset: from } },
    );
  }

  /** Rejects unless the offset is in range after all: a leader that has just begun may not know that yet. */
  async #expectInRange({ topic, partition, from }: ReadRequest): Promise<void> {
    const [bounds] = await this.#offsets.bounds([{ topic, partition }]);
    if (bounds === undefined || isOutOfRange(from, bounds))
      throw new PartitaError(
        'OFFSET_OUT_OF_RANGE',
        `Offset ${from} of ${topic}-${partition} is outside its bounds ${bounds?.start} to ${bounds?.end}.`,
        { details: { topic, partition, offset: from, bounds } },
      );
  }
}

async function fetchOne(
  connection: BrokerConnection,
  { topic, partition, from, isolation }: ReadRequest,
  maxBytes: number,
): Promise<FetchedPartition> {
  const answer = await connection.fetch(
    {
      isolationLevel: isolation === 'read_committed' ? 1 : 0,
      maxWaitTime: MAX_WAIT_MS,
      minBytes: 1,
      maxBytes,
      topics: [{ topic, partitions: [{ partition, fetchOffset: from, maxBytes }] }],
    },
    decodeFetch,
  );
  const [fetched] = answer.partitions;
  if (fetched === undefined)
    throw new BrokerAnswerError('UNKNOWN_TOPIC_OR_PARTITION', `The broker left out ${topic}-${partition}.`);
  return fetched;
}

function nothingAt({ topic, partition, from }: ReadRequest, hasBytes: boolean): PartitaError {
  const where = `The leader of ${topic}-${partition} gives`;
  return new PartitaError(
    hasBytes ? 'RECORD_BATCH_CORRUPT' : 'LOG_UNAVAILABLE',
    hasBytes
      ? `${where} bytes at offset ${from}, but not one whole batch that reaches beyond it.`
      : `${where} nothing at offset ${from}, though there should be something.`,
    { details: { topic, partition, offset: from } },
  );
}

/** `undefined`: that can't be all there is. */
function toPage(fetched: FetchedPartition, { from, isolation }: ReadRequest): LogPage | undefined {
  const { buffer, start, aborted, logStart, lastStable, highWatermark } = fetched;
  const { end, next } = wholeBatches(buffer, start, fetched.end, from);
  const limit = isolation === 'read_committed' ? lastStable : highWatermark;
  if (next === from && (from < limit || fetched.end > start)) return undefined;
  const bounds = { start: logStart, lastStable, end: highWatermark };
  return { bytes: copyOut(buffer, start, end), from, next, aborted, bounds };
}
