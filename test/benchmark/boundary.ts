/** What it costs to cross the boundary of a thread: chunks of records one way, calls there and back. */
import { once } from 'node:events';
import { MessageChannel, Worker, type MessagePort } from 'node:worker_threads';
import * as comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
import { report } from './report.js';

const CHUNK_BYTES = 256 * 1024;
const RECORD_BYTES = 110;

interface Sink {
  take(chunk: ArrayBuffer): Promise<number>;
  echo(value: number): Promise<number>;
}

const WORKER = `
import { parentPort } from 'node:worker_threads';
import * as comlink from 'comlink';
import nodeEndpoint from 'comlink/dist/esm/node-adapter.mjs';
parentPort.once('message', ({ port }) => {
  comlink.expose({ take: (chunk) => chunk.byteLength, echo: (value) => value }, nodeEndpoint(port));
  parentPort.postMessage('ready');
});
`;

export async function benchBoundary(): Promise<void> {
  const worker = new Worker(new URL(`data:text/javascript,${encodeURIComponent(resolveImports(WORKER))}`));
  const { port1, port2 } = new MessageChannel();
  worker.postMessage({ port: port2 }, [port2]);
  await once(worker, 'message');
  const sink = comlink.wrap<Sink>(endpointOf(port1));
  try {
    await transfers(sink);
    await calls(sink);
  } finally {
    port1.close();
    await worker.terminate();
  }
}

async function transfers(sink: comlink.Remote<Sink>): Promise<void> {
  const chunks = 2000;
  const source = new Uint8Array(CHUNK_BYTES);
  const startedAt = performance.now();
  const pending: Promise<number>[] = [];
  for (let i = 0; i < chunks; i++) {
    const copy = source.slice().buffer;
    pending.push(sink.take(comlink.transfer(copy, [copy])));
    if (pending.length >= 8) await pending.shift();
  }
  await Promise.all(pending);
  const seconds = (performance.now() - startedAt) / 1000;
  const records = (chunks * CHUNK_BYTES) / RECORD_BYTES;
  report({ bench: 'boundary', metric: 'records in transferred chunks', value: records / seconds, unit: 'records/s' });
}

async function calls(sink: comlink.Remote<Sink>): Promise<void> {
  const rounds = 20_000;
  let startedAt = performance.now();
  for (let i = 0; i < rounds; i++) await sink.echo(i);
  const alone = rounds / ((performance.now() - startedAt) / 1000);
  report({ bench: 'boundary', metric: 'calls one at a time', value: alone, unit: 'calls/s' });
  startedAt = performance.now();
  const pending: Promise<number>[] = [];
  for (let i = 0; i < rounds; i++) {
    pending.push(sink.echo(i));
    if (pending.length >= 64) await pending.shift();
  }
  await Promise.all(pending);
  const pipelined = rounds / ((performance.now() - startedAt) / 1000);
  report({ bench: 'boundary', metric: 'calls pipelined', value: pipelined, unit: 'calls/s' });
}

/** A worker made from text has no folder to resolve packages from. */
function resolveImports(source: string): string {
  return source.replaceAll(/from '(comlink[^']*)'/g, (_, name: string) => `from '${import.meta.resolve(name)}'`);
}

function endpointOf(port: MessagePort): comlink.Endpoint {
  return (nodeEndpoint as unknown as (port: MessagePort) => comlink.Endpoint)(port);
}
