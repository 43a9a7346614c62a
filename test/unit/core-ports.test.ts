/** Tests of the small ports of core: errors, names, logger, metrics, emitter. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Emitter } from '../../src/core/emitter.js';
import { PartitaError, isPartitaError } from '../../src/core/errors.js';
import { consoleLogger, silentLogger } from '../../src/core/logger.js';
import { MemoryMetrics, noMetrics } from '../../src/core/metrics.js';
import { changelogTopic, checkName, transactionalId } from '../../src/core/names.js';

describe('errors', () => {
  test('a caller can branch on the code and read what caused it', () => {
    const cause = new Error('EIO');
    const error = new PartitaError('DISK_FULL', 'The disk is full.', { cause, details: { partition: 3 } });
    assert.equal(isPartitaError(error), true);
    assert.equal(isPartitaError(error, 'DISK_FULL'), true);
    assert.equal(isPartitaError(error, 'LOCKED'), false);
    assert.equal(isPartitaError(cause), false);
    assert.equal(error.retryable, true);
    assert.equal(error.cause, cause);
    assert.deepEqual(error.details, { partition: 3 });
  });
});

describe('names', () => {
  test('names that could leave their directory or merge with others are refused', () => {
    for (const name of ['', '.', '..', 'a/b', 'a\\b', 'a--b', 'ä', 'a b', 'a\n', 'a'.repeat(81)])
      assert.throws(
        () => checkName('stream', name),
        (error) => isPartitaError(error, 'INVALID_NAME'),
        name,
      );
    for (const name of ['a', 'A.b_c-d', '...', '0', 'a'.repeat(80)])
      assert.equal(checkName('store', name), name);
  });

  test('derived names are those the specification gives', () => {
    assert.equal(changelogTopic('payments', 'totals'), 'changelog__payments--totals');
    assert.equal(transactionalId('payments', 'totals', 12), 'payments--totals--12');
  });
});

describe('logger', () => {
  test('one JSON object per line, with the fields of its parents, from its level on', () => {
    const lines: string[] = [];
    const logger = consoleLogger('info', (line) => lines.push(line)).child({ group: 'g' });
    logger.debug('not this');
    logger.info('hello');
    logger.child({ partition: 3 }).error({ offset: 7 }, 'failed');
    const entries = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.equal(entries.length, 2);
    assert.equal(entries[0]?.['msg'], 'hello');
    assert.equal(entries[0]['level'], 'info');
    assert.deepEqual(
      { ...entries[1], time: 0 },
      { time: 0, level: 'error', group: 'g', partition: 3, offset: 7, msg: 'failed' },
    );
  });

  test('errors keep their code and cause, and nothing it is given makes it throw', () => {
    const lines: string[] = [];
    const logger = consoleLogger('trace', (line) => lines.push(line));
    const shared = { a: 1 };
    const circular: Record<string, unknown> = { shared, again: shared, big: 10n };
    circular['self'] = circular;
    logger.warn(circular, 'round');
    logger.error({ err: new PartitaError('LOCKED', 'Locked.', { cause: new Error('why') }) }, 'oh');
    const [round, oh] = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    assert.deepEqual(round?.['again'], { a: 1 });
    assert.equal(round['big'], '10');
    assert.equal((round['self'] as Record<string, unknown>)['self'], '[circular]');
    const err = oh?.['err'] as { code: string; message: string; cause: { message: string } };
    assert.equal(err.code, 'LOCKED');
    assert.equal(err.message, 'Locked.');
    assert.equal(err.cause.message, 'why');
    const knot = new Error('knot');
    knot.cause = knot;
    logger.error({ err: knot }, 'knot');
    assert.match(lines.at(-1) ?? '', /"cause":"\[circular\]"/);
    silentLogger.child({}).error('nobody hears this');
  });
});

describe('metrics', () => {
  test('the same name and labels in any order are one series', () => {
    const metrics = new MemoryMetrics();
    metrics.counter('records_total', { stream: 's', partition: '1' }).add(2);
    metrics.counter('records_total', { partition: '1', stream: 's' }).add();
    metrics.counter('records_total', { partition: '2', stream: 's' }).add();
    assert.equal(metrics.value('records_total', { stream: 's', partition: '1' }), 3);
    assert.equal(metrics.value('records_total'), undefined);
    metrics.gauge('lag').set(5);
    metrics.gauge('lag').set(4);
    assert.equal(metrics.value('lag'), 4);
    for (const ms of [3, 1, 2]) metrics.histogram('commit_ms').observe(ms);
    assert.deepEqual(metrics.summary('commit_ms'), { count: 3, sum: 6, min: 1, max: 3 });
    noMetrics.counter('x').add();
  });

  test('a name used for two kinds, or a counter going back, is refused', () => {
    const metrics = new MemoryMetrics();
    const counter = metrics.counter('a');
    assert.throws(
      () => metrics.gauge('a'),
      (error) => isPartitaError(error, 'INVALID_ARGUMENT'),
    );
    assert.throws(
      () => {
        counter.add(-1);
      },
      (error) => isPartitaError(error, 'INVALID_ARGUMENT'),
    );
  });
});

describe('emitter', () => {
  interface Events {
    assigned: { readonly partitions: number };
    error: Error;
  }

  test('listeners get what is emitted until they are taken off, once-listeners once', () => {
    const events = new Emitter<Events>();
    const seen: string[] = [];
    const always = (event: Events['assigned']): number => seen.push(`always ${event.partitions}`);
    events.on('assigned', always).once('assigned', (event) => seen.push(`once ${event.partitions}`));
    assert.equal(events.emit('assigned', { partitions: 1 }), true);
    events.emit('assigned', { partitions: 2 });
    events.off('assigned', always);
    assert.equal(events.emit('assigned', { partitions: 3 }), false);
    assert.deepEqual(seen, ['always 1', 'once 1', 'always 2']);
  });

  test('what is held is told to those who come, once and in order; those who were there hear it at once', () => {
    const events = new Emitter<Events>();
    const [inside, outside]: [number[], number[]] = [[], []];
    const early = (event: Events['assigned']): number => inside.push(event.partitions);
    const late = (event: Events['assigned']): number => outside.push(event.partitions);
    events.on('assigned', early).hold();
    events.emit('assigned', { partitions: 1 });
    events.on('assigned', late);
    events.emit('assigned', { partitions: 2 });
    assert.deepEqual([inside, outside], [[1, 2], []]);
    events.release();
    events.emit('assigned', { partitions: 3 });
    assert.deepEqual(inside, [1, 2, 3]);
    assert.deepEqual(outside, [1, 2, 3]);
    assert.equal(events.listenerCount('assigned'), 2);
    events.off('assigned', early).off('assigned', late);
    assert.equal(events.emit('assigned', { partitions: 4 }), false);
  });

  test('of what is held the first thousand of a name are kept', () => {
    const events = new Emitter<Events>();
    events.hold();
    for (let n = 0; n < 3_000; n++) events.emit('assigned', { partitions: n });
    events.emit('error', new Error('another name'));
    const seen: unknown[] = [];
    events.on('assigned', ({ partitions }) => seen.push(partitions)).on('error', () => seen.push('error'));
    events.release();
    assert.deepEqual(seen, [...Array.from({ length: 1_000 }, (_, n) => n), 'error']);
  });

  test('an error that nobody listens to does not throw', () => {
    assert.equal(new Emitter<Events>().emit('error', new Error('unheard')), false);
  });

  test('a listener that throws is logged and stops neither the emitter nor the listeners after it', () => {
    const lines: string[] = [];
    const events = new Emitter<Events>(consoleLogger('error', (line) => lines.push(line)));
    const seen: number[] = [];
    events.on('assigned', () => {
      throw new Error('my fault');
    });
    events.on('assigned', (event) => seen.push(event.partitions));
    assert.equal(events.emit('assigned', { partitions: 4 }), true);
    assert.deepEqual(seen, [4]);
    assert.match(lines.join(), /my fault/);
  });
});
