/**
 * Reads a changelog as the log holds it and asserts that each of its partitions had one writer at a time: the transactional
 * id of a partition has one producer id, and an epoch that has been overtaken writes nothing any more. It decodes no record.
 */
import assert from 'node:assert/strict';
import { readBatchHeader } from '../../src/codec/record-batch-header.js';
import type { EmbeddedLog } from '../../src/index.js';

const PAGE_BYTES = 1024 * 1024;

export async function expectOneWriter(log: EmbeddedLog, topic: string): Promise<void> {
  const client = await log.connect({ clientId: 'one-writer' });
  try {
    const bounds = await log.bounds(topic);
    for (const [partition, { start }] of bounds.entries()) {
      let from = start;
      let producer: number | undefined;
      let epoch = -1;
      for (;;) {
        const page = await client.read({
          topic,
          partition,
          from,
          maxBytes: PAGE_BYTES,
          isolation: 'read_uncommitted',
        });
        const bytes = Buffer.from(page.bytes);
        for (let at = 0; ;) {
          const header = readBatchHeader(bytes, at);
          if (header === undefined) break;
          at = header.end;
          const where = `${topic}-${partition} at ${header.baseOffset}`;
          producer ??= header.producerId;
          assert.equal(header.producerId, producer, `${where} is of another producer`);
          assert.ok(
            header.producerEpoch >= epoch,
            `${where} is of epoch ${header.producerEpoch} after ${epoch}`,
          );
          epoch = header.producerEpoch;
        }
        if (page.next === from) break;
        from = page.next;
      }
    }
  } finally {
    await client.close();
  }
}
