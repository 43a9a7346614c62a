/**
 * Owns single raw requests to one exact node, on its plain listener: who is alive, and the bytes of a partition as they
 * lie on disk. It never retries or decodes records. kafka-node.ts waits by it; kafka-records.ts, which comes next, reads.
 */
import { connect } from 'node:net';

const METADATA = { key: 3, version: 1 };
const FETCH = { key: 1, version: 4 };
const CLIENT_ID = 'test';
const ANSWER_BUDGET_MS = 5_000;
const FETCH_BYTES_MAX = 8 * 1024 * 1024;

/** The ids of the nodes that the node at `address` counts as alive. */
export async function aliveNodes(address: string, budgetMs = ANSWER_BUDGET_MS): Promise<number[]> {
  // An empty array of topics: none.
  const response = await ask(address, METADATA, Buffer.alloc(4), budgetMs);
  const nodes: number[] = [];
  let at = 4;
  for (let left = response.readInt32BE(0); left > 0; left--) {
    nodes.push(response.readInt32BE(at));
    at += 4;
    // Host, port, rack (which may be absent: length -1).
    at += 2 + response.readInt16BE(at) + 4;
    at += 2 + Math.max(0, response.readInt16BE(at));
  }
  return nodes;
}

export interface FetchedBytes {
  readonly highWatermark: number;
  readonly lastStableOffset: number;
  /** Whole batches and perhaps the beginning of another one; read uncommitted. */
  readonly bytes: Buffer;
}

/** Asks the node at `address`, which has to be the leader, once. */
export async function fetchBytes(
  address: string,
  topic: string,
  partition: number,
  offset: number,
): Promise<FetchedBytes> {
  const response = await ask(address, FETCH, fetchBody(topic, partition, offset), ANSWER_BUDGET_MS);
  // Throttle time, one topic, its name, one partition, its number.
  let at = 4 + 4 + 2 + Buffer.byteLength(topic) + 4 + 4;
  const error = response.readInt16BE(at);
  if (error !== 0) throw new Error(`Fetching ${topic}/${partition} from ${offset}: error ${error}.`);
  const highWatermark = Number(response.readBigInt64BE(at + 2));
  const lastStableOffset = Number(response.readBigInt64BE(at + 10));
  at += 18;
  at += 4 + Math.max(0, response.readInt32BE(at)) * 16;
  const length = Math.max(0, response.readInt32BE(at));
  return { highWatermark, lastStableOffset, bytes: response.subarray(at + 4, at + 4 + length) };
}

function fetchBody(topic: string, partition: number, offset: number): Buffer {
  const name = Buffer.from(topic);
  const body = Buffer.alloc(17 + 4 + 2 + name.length + 4 + 16);
  let at = body.writeInt32BE(-1, 0); // not a replica
  at = body.writeInt32BE(0, at); // wait
  at = body.writeInt32BE(0, at); // bytes at least
  at = body.writeInt32BE(FETCH_BYTES_MAX, at);
  at = body.writeInt8(0, at); // read uncommitted
  at = body.writeInt32BE(1, at);
  at = body.writeInt16BE(name.length, at);
  at += name.copy(body, at);
  at = body.writeInt32BE(1, at);
  at = body.writeInt32BE(partition, at);
  at = body.writeBigInt64BE(BigInt(offset), at);
  body.writeInt32BE(FETCH_BYTES_MAX, at);
  return body;
}

/** Sends one request and returns its answer, from behind the correlation id. */
async function ask(
  address: string,
  api: { readonly key: number; readonly version: number },
  body: Buffer,
  budgetMs: number,
): Promise<Buffer> {
  const [host, port] = address.split(':') as [string, string];
  const socket = connect({ host, port: Number(port) });
  const timer = setTimeout(() => {
    socket.destroy(new Error(`${address} does not answer within ${budgetMs} ms.`));
  }, budgetMs);
  try {
    socket.write(Buffer.concat([requestHeader(api, body.length), body]));
    let received = Buffer.alloc(0);
    for await (const chunk of socket as AsyncIterable<Buffer>) {
      received = Buffer.concat([received, chunk]);
      if (received.length >= 8 && received.length >= 4 + received.readInt32BE(0)) return received.subarray(8);
    }
    throw new Error(`${address} closed the connection instead of answering.`);
  } finally {
    clearTimeout(timer);
    socket.destroy();
  }
}

function requestHeader(api: { readonly key: number; readonly version: number }, bodyBytes: number): Buffer {
  const header = Buffer.alloc(14 + CLIENT_ID.length);
  header.writeInt32BE(header.length - 4 + bodyBytes, 0);
  header.writeInt16BE(api.key, 4);
  header.writeInt16BE(api.version, 6);
  header.writeInt16BE(CLIENT_ID.length, 12);
  header.write(CLIENT_ID, 14);
  return header;
}
