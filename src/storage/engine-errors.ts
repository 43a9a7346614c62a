/**
 * What the databases' own errors mean, as pure functions over their codes and texts: a lock, damage, a full disk, or
 * something else. Nothing else in Partita reads a database's error; everybody above branches on PartitaError's code.
 */
import { describeError, PartitaError, type ErrorCode } from '../core/errors.js';

type StorageCode = Extract<ErrorCode, 'LOCKED' | 'CORRUPT' | 'DISK_FULL' | 'ENGINE_CLOSED' | 'ENGINE_FAILED'>;

/** The innermost code and all messages of an error and its causes; abstract-level wraps what the addon says. */
export interface NativeError {
  readonly code: string | undefined;
  readonly message: string;
}

/** At most this many causes are followed. */
const CAUSES_MAX = 8;

export function nativeError(error: unknown): NativeError {
  let code: string | undefined;
  const messages: string[] = [];
  let at: unknown = error;
  for (let depth = 0; depth < CAUSES_MAX && at instanceof Error; depth++, at = at.cause) {
    messages.push(at.message);
    if ('code' in at && typeof at.code === 'string') code = at.code;
  }
  return { code, message: messages.length > 0 ? messages.join(': ') : describeError(error) };
}

const CLOSED_CODES = new Set([
  'LEVEL_DATABASE_NOT_OPEN',
  'LEVEL_ITERATOR_NOT_OPEN',
  'LEVEL_SNAPSHOT_NOT_OPEN',
  'LEVEL_BATCH_NOT_OPEN',
]);

const DISK_FULL_TEXT =
  /no space left|disk quota exceeded|file too large|not enough space|ENOSPC|EDQUOT|EFBIG/i;

/** Files that a database always has; their absence is damage, not a failure of the disk. */
const DATABASE_FILE_TEXT = /MANIFEST-\d+|\bCURRENT\b|\b\d{6,}\.(?:ldb|sst|log)\b/;
const MISSING_TEXT = /no such file|cannot find|does not exist/i;
/** A directory where a file of the database should be. */
const DIRECTORY_TEXT = /EISDIR|is a directory/i;

/** Held within this process, which RocksDB reports with the system's "no locks available". */
const HELD_HERE_TEXT = /already held by process|lock hold by current process/i;
/** What the system says when it could not even try to lock: both addons take every failure of the call for a lock. */
const NOT_A_LOCK_TEXT =
  /no locks available|not supported|not permitted|permission denied|input\/output error|read-only|stale file/i;

/** Texts of LevelDB that mean damage and carry no code (thrown from synchronous reads, or as "invalid argument"). */
const LEVEL_CORRUPT_TEXT = /\bcorruption\b|CURRENT file does not end with newline|checksum mismatch/i;
/** RocksDB says "Invalid argument" or "Not implemented" for files that it can't make sense of. */
const ROCKSDB_CORRUPT_TEXT =
  /\bcorruption\b|CURRENT file (?:does not end with newline|corrupted)|checksum mismatch|file is too short|bad (?:block|table) |column families? not opened|does not match any column/i;

/** What an error of classic-level means. */
export function classifyLevelError(error: NativeError): StorageCode {
  return classify(error, LEVEL_CORRUPT_TEXT);
}

/** What an error of \@nxtedition/rocksdb means. */
export function classifyRocksdbError(error: NativeError): StorageCode {
  return classify(error, ROCKSDB_CORRUPT_TEXT);
}

function classify({ code, message }: NativeError, corruptText: RegExp): StorageCode {
  if (code !== undefined && CLOSED_CODES.has(code)) return 'ENGINE_CLOSED';
  if (DISK_FULL_TEXT.test(message) || code === 'ENOSPC' || code === 'EDQUOT') return 'DISK_FULL';
  if (code === 'LEVEL_LOCKED')
    return NOT_A_LOCK_TEXT.test(message) && !HELD_HERE_TEXT.test(message) ? 'ENGINE_FAILED' : 'LOCKED';
  if (DIRECTORY_TEXT.test(message)) return 'CORRUPT';
  if (code === 'LEVEL_CORRUPTION') return 'CORRUPT';
  if (corruptText.test(message)) return 'CORRUPT';
  if (DATABASE_FILE_TEXT.test(message) && MISSING_TEXT.test(message)) return 'CORRUPT';
  return 'ENGINE_FAILED';
}

const SENTENCES: Record<StorageCode, string> = {
  LOCKED: 'is open already, here or in another process',
  CORRUPT: 'is damaged',
  DISK_FULL: 'has no space left on its disk',
  ENGINE_CLOSED: 'is closed',
  ENGINE_FAILED: 'failed',
};

/** Any thrown value as a PartitaError that names the directory; PartitaErrors pass unchanged. */
export function storageError(
  classifyError: (error: NativeError) => StorageCode,
  doing: string,
  directory: string,
  error: unknown,
): PartitaError {
  if (error instanceof PartitaError) return error;
  const native = nativeError(error);
  const code = classifyError(native);
  return new PartitaError(
    code,
    `The database in ${directory} ${SENTENCES[code]} (${doing}): ${native.message}`,
    { cause: error, details: { directory, doing, nativeCode: native.code } },
  );
}
