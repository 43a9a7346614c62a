/** What the databases' errors mean: a table of what they were seen to say, and of what must not be taken for a lock. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { engineUnavailable } from '../../src/core/engine-kind.js';
import { PartitaError } from '../../src/core/errors.js';
import {
  classifyLevelError,
  classifyRocksdbError,
  nativeError,
  storageError,
} from '../../src/storage/engine-errors.js';

type Row = readonly [code: string | undefined, message: string, meaning: string];

const BOTH: readonly Row[] = [
  ['LEVEL_LOCKED', 'IO error: lock /d/LOCK: Resource temporarily unavailable', 'LOCKED'],
  ['LEVEL_LOCKED', 'IO error: lock /d/LOCK: already held by process', 'LOCKED'],
  // Both addons take every failure of the system's call for a lock.
  ['LEVEL_LOCKED', 'IO error: lock /d/LOCK: No locks available', 'ENGINE_FAILED'],
  ['LEVEL_LOCKED', 'IO error: lock /d/LOCK: Operation not supported', 'ENGINE_FAILED'],
  ['LEVEL_LOCKED', 'IO error: lock /d/LOCK: Permission denied', 'ENGINE_FAILED'],
  ['LEVEL_LOCKED', 'IO error: lock /d/LOCK: No space left on device', 'DISK_FULL'],
  ['LEVEL_IO_ERROR', 'IO error: /d/LOCK: Is a directory', 'CORRUPT'],
  ['EISDIR', 'EISDIR: illegal operation on a directory, read', 'CORRUPT'],
  ['LEVEL_IO_ERROR', 'IO error: /d/LOCK: Permission denied', 'ENGINE_FAILED'],
  ['LEVEL_IO_ERROR', 'IO error: /d/LOCK: No space left on device', 'DISK_FULL'],
  ['LEVEL_IO_ERROR', 'IO error: /d/000005.log: No space left on device', 'DISK_FULL'],
  ['LEVEL_IO_ERROR', 'IO error: /d/000005.log: Disk quota exceeded', 'DISK_FULL'],
  ['LEVEL_IO_ERROR', 'IO error: /d/000005.ldb: File too large', 'DISK_FULL'],
  ['LEVEL_IO_ERROR', 'IO error: /d/000005.log: Input/output error', 'ENGINE_FAILED'],
  ['LEVEL_IO_ERROR', 'IO error: /d/000005.log: Too many open files', 'ENGINE_FAILED'],
  ['LEVEL_IO_ERROR', 'IO error: /d/MANIFEST-000002: No such file or directory', 'CORRUPT'],
  ['LEVEL_IO_ERROR', 'IO error: /d/000012.ldb: No such file or directory', 'CORRUPT'],
  ['LEVEL_IO_ERROR', 'IO error: /d: No such file or directory', 'ENGINE_FAILED'],
  ['LEVEL_CORRUPTION', 'Corruption: 1 missing files; e.g.: /d/000005.ldb', 'CORRUPT'],
  ['LEVEL_CORRUPTION', 'Corruption: bad block contents', 'CORRUPT'],
  [undefined, 'Corruption: corrupted compressed block contents', 'CORRUPT'],
  ['LEVEL_DATABASE_NOT_OPEN', 'Database is not open', 'ENGINE_CLOSED'],
  ['LEVEL_ITERATOR_NOT_OPEN', 'Iterator is not open', 'ENGINE_CLOSED'],
  ['ENOSPC', 'ENOSPC: no space left on device, mkdir /d', 'DISK_FULL'],
  ['EACCES', 'EACCES: permission denied, mkdir /d', 'ENGINE_FAILED'],
  [undefined, 'something nobody has seen', 'ENGINE_FAILED'],
];
const LEVEL: readonly Row[] = [
  ['LEVEL_CORRUPTION', 'Corruption: CURRENT file does not end with newline', 'CORRUPT'],
  [undefined, 'Invalid argument: /d: does not exist (create_if_missing is false)', 'ENGINE_FAILED'],
];
const ROCKSDB: readonly Row[] = [
  [
    'LEVEL_LOCKED',
    'IO error: lock hold by current process, acquire time 1 acquiring thread 2: /d/LOCK: No locks available',
    'LOCKED',
  ],
  ['LEVEL_LOCKED', 'IO error: While lock file: /d/LOCK: Resource temporarily unavailable', 'LOCKED'],
  [
    'LEVEL_IO_ERROR',
    'IO error: No space left on device: While appending to file: /d/000009.log',
    'DISK_FULL',
  ],
  [
    'LEVEL_IO_ERROR',
    'IO error: No such file or directory: While opening a file: /d/MANIFEST-000005',
    'CORRUPT',
  ],
  [undefined, 'Invalid argument: Column families not opened: x', 'CORRUPT'],
];

describe('an error of a database', () => {
  for (const [classify, name, rows] of [
    [classifyLevelError, 'level', [...BOTH, ...LEVEL]],
    [classifyRocksdbError, 'rocksdb', [...BOTH, ...ROCKSDB]],
  ] as const)
    for (const [code, message, meaning] of rows)
      it(`of ${name} that says "${message}" means ${meaning}`, () => {
        assert.equal(classify({ code, message }), meaning);
      });

  it('is understood by its innermost cause, and kept as the cause', () => {
    const inner = Object.assign(new Error('IO error: lock /d/LOCK: already held by process'), {
      code: 'LEVEL_LOCKED',
    });
    const outer = Object.assign(new Error('Database failed to open', { cause: inner }), {
      code: 'LEVEL_DATABASE_NOT_OPEN',
    });
    assert.deepEqual(nativeError(outer), {
      code: 'LEVEL_LOCKED',
      message: 'Database failed to open: IO error: lock /d/LOCK: already held by process',
    });
    const error = storageError(classifyLevelError, 'opening it', '/d', outer);
    assert.equal(error.code, 'LOCKED');
    assert.equal(error.cause, outer);
    assert.match(error.message, /\/d is open already/);
  });

  it('that already is one of Partita passes unchanged, and a thrown text is no crash', () => {
    const own = new PartitaError('CORRUPT', 'own');
    assert.equal(storageError(classifyLevelError, 'reading', '/d', own), own);
    assert.equal(storageError(classifyLevelError, 'reading', '/d', 'just text').code, 'ENGINE_FAILED');
  });
});

describe('an engine that can not be loaded', () => {
  it('says what to install when its package is missing', () => {
    const missing = Object.assign(new Error('Cannot find package'), { code: 'ERR_MODULE_NOT_FOUND' });
    const error = engineUnavailable('rocksdb', missing);
    assert.equal(error.code, 'ENGINE_UNAVAILABLE');
    assert.match(error.message, /not installed.*npm install @nxtedition\/rocksdb@12\.2\.12/);
    assert.match(engineUnavailable('level', missing).message, /npm install classic-level/);
  });

  it('says that the platform has none when there is no binary', () => {
    const error = engineUnavailable('rocksdb', new Error('No native build was found for platform=win32'));
    assert.match(error.message, /could not be loaded.*Linux x64.*macOS arm64.*"level"/);
  });
});
