/**
 * The way across the thread boundary alone: chunks of packed records, transferred, with an answer per chunk as credit, at
 * most 2 MiB outstanding; against a call per record. The other side only counts.
 */
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';
import { report } from './report.js';

const RECORDS_PER_CHUNK = 2_000;
const OUTSTANDING_BYTES = 2 * 1024 * 1024;
const SECONDS = 2;
const VALUE = 'x'.repeat(90);

/** Counts the bytes it gets and answers each message. */
const COUNTER = `
const { parentPort } = require('node:worker_threads');
parentPort.once('message', (port) => port.on('message', (message) => port.postMessage(message.bytes.byteLength)));
`;

export async function benchCrossing(): Promise<void> {
  const writer = new RecordBatchWriter();
  for (let i = 0; i < RECORDS_PER_CHUNK; i++) writer.append(i, `key-${i % 100}`, VALUE);
  const batch = writer.seal()!;
  const worker = new Worker(COUNTER, { eval: true });
  const { port1, port2 } = new MessageChannel();
  worker.postMessage(port2, [port2]);
  const chunks = await pump(port1, () => new Uint8Array(batch).slice().buffer, OUTSTANDING_BYTES);
  figure('packed records', chunks.rate * RECORDS_PER_CHUNK, 'records/s', RECORDS_PER_CHUNK);
  figure('packed bytes', (chunks.rate * batch.byteLength) / 1e6, 'MB/s', RECORDS_PER_CHUNK);
  const record = new Uint8Array(110);
  const single = await pump(port1, () => record.slice().buffer, 110);
  figure('single records', single.rate, 'records/s', 1);
  port1.close();
  await worker.terminate();
}

function figure(metric: string, value: number, unit: string, recordsPerMessage: number): void {
  report({ bench: 'crossing', metric, value, unit, with: { recordsPerMessage } });
}

/** Messages per second, each copied out and transferred, with so many bytes under way at once. */
async function pump(
  port: MessagePort,
  make: () => ArrayBuffer,
  outstandingBytes: number,
): Promise<{ readonly rate: number }> {
  let sent = 0;
  let answered = 0;
  let outstanding = 0;
  const until = performance.now() + SECONDS * 1000;
  await new Promise<void>((resolve) => {
    const send = () => {
      while (outstanding < outstandingBytes && performance.now() < until) {
        const bytes = make();
        outstanding += bytes.byteLength;
        sent++;
        port.postMessage({ bytes }, [bytes]);
      }
    };
    port.on('message', (bytes: number) => {
      answered++;
      outstanding -= bytes;
      send();
      if (answered === sent && performance.now() >= until) resolve();
    });
    send();
  });
  port.removeAllListeners('message');
  return { rate: answered / SECONDS };
}
