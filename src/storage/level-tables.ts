/**
 * Looks for damage in LevelDB's tables before they are opened, because classic-level offers no way to have their blocks
 * checked as they are read: a flipped bit would come out as another value. Reads only. Format: doc/table_format.md of
 * LevelDB.
 */
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { checksumFits, VarintCursor, type BlockHandle } from './database-bytes.js';
import { readIfThere } from './database-files.js';
import type { Manifest, Table } from './database-manifest.js';
import { systemCode } from './format-file.js';

/**
 * Bytes of tables, newest first, whose data blocks are checked at open; of older ones footer, index and filter are. It
 * bounds what an open reads: some 50 ms from the page cache.
 */
const VERIFY_BYTES_MAX = 64 << 20;

const FOOTER_BYTES = 48;
const TABLE_MAGIC = 0xdb4775248b80fb57n;
/** Compression type and checksum behind each block. */
const BLOCK_TRAILER_BYTES = 5;
const UNCOMPRESSED = 0;

/** What is wrong with the tables, in a sentence. Missing ones LevelDB names itself, once it has the lock. */
export async function findTableDamage(directory: string, manifest: Manifest): Promise<string | undefined> {
  let budget = VERIFY_BYTES_MAX;
  for (const table of [...manifest.tables].sort((a, b) => b.number - a.number)) {
    budget -= table.bytes;
    const damage = await checkTableFile(directory, table, budget >= 0);
    if (damage !== undefined) return damage;
  }
  return undefined;
}

async function checkTableFile(directory: string, table: Table, whole: boolean): Promise<string | undefined> {
  const digits = String(table.number).padStart(6, '0');
  for (const name of [`${digits}.ldb`, `${digits}.sst`]) {
    const source = await openTable(join(directory, name), table.bytes, whole);
    if (source === undefined) continue;
    try {
      return source.sound && (await tableIsSound(source, table.bytes, whole))
        ? undefined
        : `${name} is damaged`;
    } finally {
      await source.close();
    }
  }
  // LevelDB names missing tables itself, once it has the lock.
  return undefined;
}

interface TableSource {
  readonly sound: boolean;
  read(offset: number, length: number): Promise<Buffer>;
  close(): Promise<void>;
}

async function openTable(path: string, bytes: number, whole: boolean): Promise<TableSource | undefined> {
  if (whole) {
    const all = await readIfThere(path);
    if (all === undefined) return undefined;
    return {
      sound: all.length === bytes,
      read: async (offset, length) => all.subarray(offset, offset + length),
      close: async () => undefined,
    };
  }
  try {
    const file = await open(path, 'r');
    const { size } = await file.stat();
    return {
      sound: size === bytes,
      read: async (offset, length) => (await file.read(Buffer.alloc(length), 0, length, offset)).buffer,
      close: () => file.close(),
    };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return undefined;
    throw error;
  }
}

async function tableIsSound(source: TableSource, bytes: number, whole: boolean): Promise<boolean> {
  if (bytes < FOOTER_BYTES) return false;
  const footer = await source.read(bytes - FOOTER_BYTES, FOOTER_BYTES);
  if (footer.readBigUInt64LE(FOOTER_BYTES - 8) !== TABLE_MAGIC) return false;
  const cursor = new VarintCursor(footer);
  const meta = await readBlock(source, cursor.handle(), bytes);
  const index = await readBlock(source, cursor.handle(), bytes);
  if (cursor.failed || meta === undefined || index === undefined) return false;
  for (const handle of meta.handles())
    if ((await readBlock(source, handle, bytes)) === undefined) return false;
  if (whole)
    for (const handle of index.handles())
      if ((await readBlock(source, handle, bytes)) === undefined) return false;
  return !meta.failed && !index.failed;
}

/** `undefined`: it lies outside the file, or its checksum does not fit. */
async function readBlock(
  source: TableSource,
  { offset, size }: BlockHandle,
  bytes: number,
): Promise<Block | undefined> {
  if (offset + size + BLOCK_TRAILER_BYTES > bytes - FOOTER_BYTES) return undefined;
  const block = await source.read(offset, size + BLOCK_TRAILER_BYTES);
  if (!checksumFits(block.subarray(0, size + 1), block.readUInt32LE(size + 1))) return undefined;
  return new Block(block.subarray(0, size), block[size] === UNCOMPRESSED);
}

/** The entries of an index block, as far as their values are handles of other blocks. */
class Block {
  failed = false;
  readonly #bytes: Buffer;
  readonly #readable: boolean;

  constructor(bytes: Buffer, readable: boolean) {
    this.#bytes = bytes;
    this.#readable = readable;
  }

  /** None of a compressed block: Partita's own are not, and LevelDB checks the structure of one that is. */
  *handles(): Generator<BlockHandle> {
    if (!this.#readable) return;
    const bytes = this.#bytes;
    const restarts = bytes.length < 4 ? 0 : bytes.readUInt32LE(bytes.length - 4);
    const entriesEnd = bytes.length - 4 - 4 * restarts;
    const cursor = new VarintCursor(bytes.subarray(0, Math.max(0, entriesEnd)));
    this.failed = entriesEnd < 0;
    while (cursor.at < entriesEnd && !this.failed) {
      cursor.varint(); // bytes of the key shared with the one before
      const keyRest = cursor.varint();
      const valueBytes = cursor.varint();
      cursor.skip(keyRest);
      const valueStart = cursor.at;
      const handle = cursor.handle();
      this.failed = cursor.failed || cursor.at !== valueStart + valueBytes;
      if (!this.failed) yield handle;
    }
  }
}
