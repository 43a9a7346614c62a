/**
 * The rows of a timestamped store as bytes: the root of each key, and its nodes (blocks of entries, and lists of places of
 * nodes). Their order is that of their keys: key, level, place. Values stand in them in the form that key-value stores give
 * theirs, so that null and what is plain are told apart alike.
 */
import { SERDE_TRAITS, type Serde } from '../../processor/serde.js';
import { ByteArena } from '../byte-arena.js';
import { timeText } from '../internal-serdes.js';
import type { StoredForm } from '../stored-form.js';
import { bytesOf, type Block, type BlockEntry } from './entry-block.js';

/**
 * Where a node begins: nothing in it is before the `ordinal`-th entry (from 0) of this timestamp. The first node of a key is
 * at (0, 0), wherever its first entry is.
 */
export class Place {
  readonly timestamp: number;
  readonly ordinal: number;
  #node: string | undefined;

  constructor(timestamp: number, ordinal: number) {
    this.timestamp = timestamp;
    this.ordinal = ordinal;
  }

  /** The key of its node. Always asked for the same key and level, so that it is made once. */
  node(keyText: string, level: number): string {
    return (this.#node ??= levelPrefix(keyText, level) + timeText(this.timestamp) + text32(this.ordinal));
  }
}

export type Places = readonly Place[];

/** A node: entries (level 0), or the places of nodes one level below. */
export type Node = Block | Places;

/** The row of a key. Its topmost node stands in it, so that a key with few entries is one row. */
export interface Root {
  readonly newest: number;
  /** The smallest timestamp that is eligible; it never decreases. */
  readonly min: number;
  /** Level of `top`: 0 if that is a block. */
  readonly height: number;
  readonly top: Node;
}

/** Where the first node of every key and level begins. */
export function first(): Place {
  return new Place(0, 0);
}

/** Newest, min, height. */
const ROOT_HEAD_BYTES = 17;
/** Kind, count. */
const NODE_HEAD_BYTES = 5;
/** Timestamp, ordinal. */
const PLACE_BYTES = 12;
/** Timestamp, bytes of the value. */
const ENTRY_HEAD_BYTES = 12;
const KIND_BLOCK = 0;
const KIND_PLACES = 1;
const TWO_32 = 0x1_0000_0000;

/** What a row with a single entry takes at most beside its value. */
export const ENTRY_OVERHEAD_BYTES = ROOT_HEAD_BYTES + NODE_HEAD_BYTES + ENTRY_HEAD_BYTES;

/** Before the keys of all nodes of a key on this level. The length keeps keys apart that begin with each other. */
export function levelPrefix(keyText: string, level: number): string {
  return text32(keyText.length) + keyText + String.fromCharCode(level);
}

export function nodeSerde(form: StoredForm): Serde<unknown> {
  return binary<Node>('timestamped node', {
    encode: (node) => Buffer.concat(nodeParts(node, form)),
    decode: (bytes) => readNode(bytes, 0, form),
    admit: nodeBytesMax,
  });
}

export function rootSerde(form: StoredForm): Serde<unknown> {
  return binary<Root>('timestamped root', {
    encode: ({ newest, min, height, top }) => {
      const head = Buffer.allocUnsafe(ROOT_HEAD_BYTES);
      writeTime(head, newest, 0);
      writeTime(head, min, 8);
      head[16] = height;
      return Buffer.concat([head, ...nodeParts(top, form)]);
    },
    decode: (bytes) => ({
      newest: readTime(bytes, 0),
      min: readTime(bytes, 8),
      height: bytes[16]!,
      top: readNode(bytes, ROOT_HEAD_BYTES, form),
    }),
    admit: ({ top }) => ROOT_HEAD_BYTES + nodeBytesMax(top),
  });
}

export function isBlock(node: Node): node is Block {
  return node.length === 0 || 'held' in node[0]!;
}

function nodeBytesMax(node: Node): number {
  if (!isBlock(node)) return NODE_HEAD_BYTES + PLACE_BYTES * node.length;
  return NODE_HEAD_BYTES + ENTRY_HEAD_BYTES * node.length + bytesOf(node);
}

function nodeParts(node: Node, form: StoredForm): Uint8Array[] {
  const head = Buffer.allocUnsafe(NODE_HEAD_BYTES);
  head[0] = isBlock(node) ? KIND_BLOCK : KIND_PLACES;
  head.writeUInt32BE(node.length, 1);
  return isBlock(node) ? [head, ...entryParts(node, form)] : [head, placesBytes(node)];
}

function entryParts(block: Block, form: StoredForm): Uint8Array[] {
  const arena = new ByteArena();
  const parts: Uint8Array[] = [];
  for (const { timestamp, held } of block) {
    const value = form.write(held, undefined, arena);
    const head = Buffer.allocUnsafe(ENTRY_HEAD_BYTES);
    writeTime(head, timestamp, 0);
    head.writeUInt32BE(value.length, 8);
    parts.push(head, value);
  }
  return parts;
}

function placesBytes(places: Places): Uint8Array {
  const bytes = Buffer.allocUnsafe(PLACE_BYTES * places.length);
  for (const [i, { timestamp, ordinal }] of places.entries()) {
    writeTime(bytes, timestamp, PLACE_BYTES * i);
    bytes.writeUInt32BE(ordinal, PLACE_BYTES * i + 8);
  }
  return bytes;
}

function readNode(bytes: Buffer, from: number, form: StoredForm): Node {
  const count = bytes.readUInt32BE(from + 1);
  const at = from + NODE_HEAD_BYTES;
  switch (bytes[from]) {
    case KIND_BLOCK:
      return readBlock(bytes, at, count, form);
    case KIND_PLACES:
      return Array.from({ length: count }, (_, i) => {
        const place = at + PLACE_BYTES * i;
        return new Place(readTime(bytes, place), bytes.readUInt32BE(place + 8));
      });
    default:
      throw new RangeError(`A node is of the unknown kind ${String(bytes[from])}.`);
  }
}

function readBlock(bytes: Buffer, from: number, count: number, form: StoredForm): Block {
  const block: BlockEntry[] = [];
  for (let at = from; block.length < count;) {
    const timestamp = readTime(bytes, at);
    const length = bytes.readUInt32BE(at + 8);
    at += ENTRY_HEAD_BYTES;
    const held = form.hold(bytes.subarray(at, at + length), undefined);
    block.push({ timestamp, held, bytes: length });
    at += length;
  }
  return block;
}

function writeTime(bytes: Buffer, ms: number, at: number): void {
  bytes.writeUInt32BE(Math.floor(ms / TWO_32), at);
  bytes.writeUInt32BE(ms % TWO_32, at + 4);
}

function readTime(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * TWO_32 + bytes.readUInt32BE(at + 4);
}

/** Four bytes, big-endian, as latin1 text. */
function text32(value: number): string {
  return String.fromCharCode(value >>> 24, (value >>> 16) & 0xff, (value >>> 8) & 0xff, value & 0xff);
}

interface BinaryForm<T> {
  readonly encode: (value: T) => Uint8Array;
  readonly decode: (bytes: Buffer) => T;
  /** Upper bound of the bytes of `encode(value)`. */
  readonly admit: (value: T) => number;
}

/** A serde of the state layer's own immutable objects: neither walked nor frozen. */
function binary<T>(name: string, form: BinaryForm<T>): Serde<unknown> {
  const { encode, decode, admit } = form as BinaryForm<unknown>;
  return {
    encode,
    decode: (bytes) => decode(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)),
    [SERDE_TRAITS]: { name: `internal ${name}`, nullable: false, shape: 'primitive', admit },
  } as Serde<unknown>;
}
