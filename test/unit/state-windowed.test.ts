/** Windowed stores as a processor meets them: what is emitted, kept, shown and taken back, in the test driver. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  bytes,
  count,
  defineProcessor,
  int64,
  json,
  keyValue,
  nullable,
  session,
  string,
  topic,
  tumbling,
  windowed,
  type Serde,
  type Window,
} from '../../src/index.js';
import { TestDriver } from '../../src/testing/index.js';
import { turns } from '../support/waiting.js';

interface Options {
  readonly window?: Window;
  readonly [option: string]: unknown;
}
interface Result {
  readonly n: number;
  readonly values: readonly number[];
}

/** Counts and collects; results and missed events go to outputs. -1 makes the handler of results throw. */
function counting(options: Options = {}, more: object = {}) {
  return defineProcessor({
    inputs: { in: topic({ key: nullable(string()), value: json<number>() }) },
    outputs: {
      out: topic({ key: string(), value: json<unknown>() }),
      late: topic({ key: string(), value: json<unknown>() }),
    },
    stores: {
      w: windowed({
        key: nullable(string()),
        value: json<number>(),
        window: tumbling(10),
        aggregate: (of) => ({ n: of.count(), values: of.collect() }),
        ...options,
      }),
      seen: keyValue({ key: string(), value: int64() }),
    },
    process({ key, value }, { stores }) {
      stores.w.add(key, value);
      stores.seen.update('records', (n) => (n ?? 0) + 1);
      if (value === -2) throw new Error('A record fails after its add.');
    },
    windows: {
      w({ key, startMs, endMs, result, closed }, { emit }) {
        const { n, values } = result as Result;
        if (values.includes(-1)) throw new Error('A window fails.');
        emit.out(String(key), { startMs, endMs, n, values, closed });
      },
    },
    onLate: {
      w({ key, value, lateBy, window, offset }, { emit }) {
        if (value === -3) throw new Error('A late event fails.');
        emit.late(String(key), { value, lateBy, window, offset });
      },
    },
    queries: {
      async starts({ stores }, key: string | null, fromMs: number, toMs: number) {
        const found: number[] = [];
        for await (const { startMs } of stores.w.fetch(key, fromMs, toMs)) found.push(startMs);
        return found;
      },
      async some({ stores }, _key: string | null, limit: number) {
        const found: string[] = [];
        for await (const { key, startMs } of stores.w.all(0, Infinity, { limit }))
          found.push(`${key} ${startMs}`);
        return found;
      },
    },
    ...more,
  });
}

type Driver = TestDriver<ReturnType<typeof counting>>;

const at = (timestamp: number, value = timestamp, key: string | null = 'a') => ({ key, value, timestamp });

async function told(driver: Driver, output = 'out'): Promise<readonly unknown[]> {
  await driver.checkpoint();
  return (await driver.outputs(output)).map(({ value }) => value);
}

test('a key with many windows and large ones comes back as it was, whatever rows they lie in', async () => {
  const WINDOWS = 300;
  await using driver = await TestDriver.start(counting({ graceMs: 1_000_000 }));
  const expected = new Map<number, number[]>();
  for (let round = 0; round < 3; round++) {
    for (let i = 0; i < WINDOWS; i++) {
      // One of them holds more than fits its row.
      for (let n = 0; n < (i === 7 ? 150 : 1); n++) {
        await driver.append('in', [at(10 * i + (n % 10), n)]);
        expected.set(10 * i, [...(expected.get(10 * i) ?? []), n]);
      }
    }
    await driver.drain();
    await driver.checkpoint();
    if (round === 1) await driver.crash();
    await driver.restart({ wipe: round === 1 });
    const open = await driver.windows<string, Result>('w').current('a');
    assert.deepEqual(
      open.map(({ startMs, result }) => [startMs, result.values]),
      [...expected],
    );
  }
  // All close, and nothing of the key is left.
  await driver.pipe('in', at(2_000_000, 0, 'b'));
  assert.equal((await told(driver)).length, WINDOWS);
  assert.deepEqual(await driver.windows('w').current('a'), []);
  assert.equal((await driver.windows('w').all()).length, 1);
});

test('a record that fails after its add leaves no trace in its windows', async () => {
  await using driver = await TestDriver.start(counting({ emission: 'updates' }, { onError: 'skip' }));
  await driver.pipe('in', at(1));
  await driver.pipe('in', at(2, -2));
  await driver.pipe('in', at(3));
  const [window] = await driver.windows<string, Result>('w').current('a');
  assert.deepEqual(window?.result, { n: 2, values: [1, 3] });
  assert.equal((await told(driver)).length, 2);
  // Its time is taken back as well: nothing is closed by it.
  await driver.pipe('in', at(15, -2));
  assert.equal((await driver.windows('w').current('a')).length, 1);
});

test('an aggregation that throws stages nothing, also if the handler goes on', async () => {
  const processor = defineProcessor({
    inputs: { in: topic({ key: string(), value: json<number>() }) },
    stores: {
      w: windowed({
        key: string(),
        value: json<number>(),
        window: session(5),
        aggregate: (of) => ({
          n: of.count(),
          sum: of.fold({
            initial: () => 0,
            add: (a, v) => {
              if (v < 0) throw new Error('It takes no debts.');
              return v === 0 ? NaN : a + v;
            },
            merge: (a, b) => a + b,
          }),
        }),
      }),
      refused: keyValue({ key: string(), value: string() }),
    },
    process({ key, value }, { stores }) {
      try {
        stores.w.add(key, value);
      } catch (error) {
        stores.refused.set(String(value), String(error));
      }
    },
  });
  await using driver = await TestDriver.start(processor);
  for (const [value, timestamp] of [
    [1, 10],
    [2, 18],
    // It would join both.
    [-1, 14],
    // What JSON can't hold.
    [0, 14],
    [4, 30],
  ] as const)
    await driver.pipe('in', { key: 'a', value, timestamp });
  assert.match((await driver.store<string, string>('refused').get('-1')) ?? '', /no debts/);
  assert.match((await driver.store<string, string>('refused').get('0')) ?? '', /NaN|JSON/);
  // The sessions at 10 and 18 have closed by 30; that they stayed two is seen in what is open.
  const open = await driver.windows<string, { n: number; sum: number }>('w').all();
  assert.deepEqual(
    open.map(({ startMs, result }) => [startMs, result]),
    [[30, { n: 1, sum: 4 }]],
  );
});

test('keys of every type come back as they were', async () => {
  const keys: readonly (readonly [Serde<unknown>, readonly unknown[]])[] = [
    [string(), ['', 'a', 'ä', '日本', 'a\u0000b', 'ÿ']],
    [int64(), [0, -1, 2 ** 40, -(2 ** 52)]],
    [bytes(), [Uint8Array.of(0), Uint8Array.of(0, 0), Uint8Array.of(255, 1)]],
    [json<unknown>(), [{ a: 1 }, [1, 2], 'x', 7]],
  ];
  for (const [serde, values] of keys) {
    const processor = defineProcessor({
      inputs: { in: topic({ key: serde, value: int64() }) },
      stores: {
        w: windowed({
          key: serde,
          value: int64(),
          window: tumbling(10),
          aggregate: (of) => ({ n: of.count() }),
        }),
      },
      process({ key, value }, { stores }) {
        stores.w.add(key, value);
      },
    });
    await using driver = await TestDriver.start(processor);
    for (const key of values) await driver.pipe('in', { key, value: 1, timestamp: 1 });
    await driver.checkpoint();
    await driver.restart({ wipe: true });
    const open = await driver.windows('w').all();
    assert.equal(open.length, values.length);
    for (const key of values) {
      const [window] = await driver.windows<unknown, { n: number }>('w').current(key);
      assert.deepEqual([window?.key, window?.result.n], [key, 1]);
    }
  }
});

test('fetch and all give the open windows that start in a range, all as many as asked for', async () => {
  await using driver = await TestDriver.start(counting({ graceMs: 1_000 }));
  for (const key of ['a', 'b'])
    for (const time of [5, 15, 25, 35]) await driver.pipe('in', at(time, time, key));
  assert.deepEqual(await driver.query('starts', { key: 'a' }, 10, 30), [10, 20]);
  assert.deepEqual(await driver.query('starts', { key: 'a' }, 30, 10), []);
  assert.deepEqual(await driver.query('some', { partition: 0 }, 5), ['a 0', 'a 10', 'a 20', 'a 30', 'b 0']);
  assert.deepEqual(await driver.query('some', { partition: 0 }, 0), []);
});

test('a committed read sees the windows, and the time, of the last checkpoint', async () => {
  await using driver = await TestDriver.start(counting());
  await driver.pipe('in', at(1));
  await driver.checkpoint();
  await driver.pipe('in', at(2));
  await driver.pipe('in', at(11));
  const committed = await driver.windows<string, Result>('w', { read: 'committed' }).current('a');
  assert.deepEqual(
    committed.map(({ startMs, result }) => [startMs, result.n]),
    [[0, 1]],
  );
  const latest = await driver.windows<string, Result>('w').current('a');
  assert.deepEqual(
    latest.map(({ startMs }) => startMs),
    [10],
  );
});

test('values under a null key are skipped, counted, and told once', async () => {
  await using driver = await TestDriver.start(counting());
  for (let i = 0; i < 3; i++) await driver.pipe('in', at(i, i, null));
  const [stats] = await driver.stats();
  assert.deepEqual([stats?.nullKeys, stats?.records], [3, 3]);
  const warnings = driver.events.filter(({ type }) => type === 'warning');
  assert.equal(warnings.length, 1);
  assert.deepEqual(await driver.windows('w').all(), []);
});

test('a null key of a record that is skipped is not counted: it has left no trace', async () => {
  await using driver = await TestDriver.start(counting({}, { onError: 'skip' }));
  await driver.pipe('in', at(1, -2, null));
  await driver.pipe('in', at(2, 2, null));
  const [stats] = await driver.stats();
  assert.deepEqual([stats?.nullKeys, stats?.skipped], [1, 1]);
});

test('late events are counted and told, with where they came from', async () => {
  await using driver = await TestDriver.start(counting());
  await driver.pipe('in', at(25));
  await driver.pipe('in', at(3, 7));
  assert.deepEqual(await told(driver, 'late'), [
    { value: 7, lateBy: 22, window: { startMs: 0, endMs: 10 }, offset: 1 },
  ]);
  assert.equal((await driver.stats())[0]?.late, 1);
});

test('a call of onLate that fails is rolled back alone, and skipped or sent to a dead letter topic', async () => {
  for (const onError of ['skip', { deadLetter: 'dead' }] as const) {
    await using driver = await TestDriver.start(counting({}, { onError }));
    await driver.pipe('in', at(25));
    await driver.pipe('in', at(3, -3));
    await driver.pipe('in', at(4, 8));
    assert.equal((await told(driver, 'late')).length, 1);
    // The record itself went well.
    assert.equal(await driver.store('seen').get('records'), 3);
    if (onError === 'skip') continue;
    const [dead] = await driver.outputs<Uint8Array, Uint8Array>('dead');
    assert.equal(Buffer.from(dead!.key).toString(), 'a');
    assert.equal(dead!.headers['partita.late'], 'w');
    assert.equal((JSON.parse(Buffer.from(dead!.value).toString()) as { value: number }).value, -3);
  }
});

test('a call of onLate that fails under `fail` fails the partition, and is made again with its record', async () => {
  let broken = true;
  const onLate = {
    w(
      { value }: { readonly value: number },
      { emit }: { emit: { late(key: string, value: unknown): void } },
    ) {
      if (broken) throw new Error('Not today.');
      emit.late('a', value);
    },
  };
  await using driver = await TestDriver.start(counting({}, { onLate }));
  await driver.pipe('in', at(25));
  await assert.rejects(driver.pipe('in', at(3, 7)), { code: 'HANDLER_FAILED' });
  broken = false;
  await driver.restart();
  await driver.drain();
  assert.deepEqual(await told(driver, 'late'), [7]);
  assert.equal(await driver.store('seen').get('records'), 2);
});

test('a window whose handler fails closes all the same, skipped or as a dead letter', async () => {
  const origins: unknown[] = [];
  const onError = (_error: unknown, failed: { readonly origin: string; readonly name: string }) => {
    origins.push([failed.origin, failed.name]);
    return { deadLetter: 'dead' };
  };
  await using driver = await TestDriver.start(counting({}, { onError }), { deadLetters: ['dead'] });
  await driver.pipe('in', at(1, -1, 'a'));
  await driver.pipe('in', at(1, 1, 'b'));
  await driver.pipe('in', at(25, 1, 'c'));
  assert.deepEqual(await told(driver), [{ startMs: 0, endMs: 10, n: 1, values: [1], closed: true }]);
  assert.deepEqual(origins, [['window', 'w']]);
  const [dead] = await driver.outputs<Uint8Array, Uint8Array>('dead');
  assert.equal(dead!.headers['partita.window'], 'w');
  assert.deepEqual(await driver.windows('w').current('a'), []);
});

test("an update that fails is its record's error", async () => {
  await using driver = await TestDriver.start(counting({ emission: 'updates' }, { onError: 'skip' }));
  await driver.pipe('in', at(1, 1));
  await driver.pipe('in', at(2, -1));
  assert.equal((await driver.stats())[0]?.skipped, 1);
  assert.equal((await driver.windows<string, Result>('w').current('a'))[0]?.result.n, 1);
});

test('a window whose handler fails under `fail` fails the partition, and is not lost', async () => {
  let broken = true;
  const windows = {
    w(window: { readonly key: unknown }, { emit }: { emit: { out(key: string, value: unknown): void } }) {
      if (broken) throw new Error('Not today.');
      emit.out(String(window.key), 'closed');
    },
  };
  await using driver = await TestDriver.start(counting({}, { windows }));
  await driver.pipe('in', at(1));
  await assert.rejects(driver.pipe('in', at(25)), { code: 'HANDLER_FAILED' });
  broken = false;
  await driver.restart();
  await driver.drain();
  assert.deepEqual(await told(driver), ['closed']);
});

test('asynchronous handlers of windows are awaited, one after the other', async () => {
  const windows = {
    async w(
      { startMs }: { readonly startMs: number },
      { emit }: { emit: { out(key: string, value: unknown): void } },
    ) {
      await turns();
      emit.out('a', startMs);
    },
  };
  for (const emission of ['final', 'updates']) {
    await using driver = await TestDriver.start(counting({ emission }, { windows }));
    for (const time of [1, 11, 21]) await driver.pipe('in', at(time));
    const expected = emission === 'final' ? [0, 10] : [0, 10, 0, 20, 10];
    assert.deepEqual(await told(driver), expected);
  }
});

test('a result goes to an output by its name, with its window in the headers', async () => {
  await using driver = await TestDriver.start(counting({}, { windows: { w: 'out' } }));
  await driver.pipe('in', at(5));
  await driver.pipe('in', at(15));
  await driver.checkpoint();
  const [closed] = await driver.outputs('out');
  assert.deepEqual(closed!.value, { n: 1, values: [5] });
  assert.equal(closed!.timestamp, 9);
  assert.deepEqual(closed!.headers, {
    'partita.window.start': '0',
    'partita.window.end': '10',
    'partita.window.closed': 'true',
  });
});

test('a window that closes may add to another store, whose windows close in turn', async () => {
  const processor = defineProcessor({
    inputs: { in: topic({ key: string(), value: int64() }) },
    outputs: { out: topic({ key: string(), value: json<unknown>() }) },
    stores: {
      tens: windowed({
        key: string(),
        value: int64(),
        window: tumbling(10),
        aggregate: (of) => ({ n: of.count() }),
      }),
      // No grace: a ten closes before its hundred does, however far the next record is.
      hundreds: windowed({
        key: string(),
        value: int64(),
        window: tumbling(100),
        aggregate: (of) => ({ n: of.sum((n) => n), tens: of.count() }),
      }),
    },
    process({ key, value }, { stores }) {
      stores.tens.add(key, value);
    },
    windows: {
      tens({ key, result }, { stores }) {
        stores.hundreds.add(key, result.n);
      },
      hundreds({ key, startMs, result }, { emit }) {
        emit.out(key, { startMs, ...result });
      },
    },
  });
  await using driver = await TestDriver.start(processor);
  for (const timestamp of [1, 2, 15, 85, 120, 9_230])
    await driver.pipe('in', { key: 'a', value: 1, timestamp });
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs('out')).map(({ value }) => value),
    [
      { startMs: 0, n: 4, tens: 3 },
      { startMs: 100, n: 1, tens: 1 },
    ],
  );
});

test('a trigger by its result, and one that closes, emit and begin anew', async () => {
  const when = { when: ({ n }: { readonly n: number }) => n >= 2 };
  await using open = await TestDriver.start(counting({ trigger: when }));
  await using closing = await TestDriver.start(counting({ trigger: { ...when, closes: true } }));
  for (const driver of [open, closing]) for (const time of [1, 2, 3, 15]) await driver.pipe('in', at(time));
  const short = (values: readonly unknown[]) =>
    (values as { n: number; values: number[]; closed: boolean }[]).map(({ values: v, closed }) => [
      v,
      closed,
    ]);
  assert.deepEqual(short(await told(open)), [
    [[1, 2], false],
    [[1, 2, 3], false],
    [[1, 2, 3], true],
  ]);
  assert.deepEqual(short(await told(closing)), [
    [[1, 2], true],
    [[3], true],
  ]);
});

test('an interval emits each window that has changed, once, and again after a crash only what was lost', async () => {
  await using driver = await TestDriver.start(counting({ trigger: { everyMs: 1_000 } }));
  await driver.append('in', [at(1, 1, 'a'), at(2, 2, 'b'), at(11, 3, 'a')]);
  await driver.drain();
  await driver.advance(1_000);
  const first = await told(driver);
  // Of a: [0, 10) closed by time; then what is open, as it is.
  assert.equal(first.length, 3);
  await driver.restart();
  await driver.advance(2_000);
  assert.equal((await told(driver)).length, 3);
  await driver.pipe('in', at(12, 4, 'a'));
  await driver.crash();
  await driver.restart();
  await driver.drain();
  await driver.advance(1_000);
  assert.deepEqual((await told(driver)).slice(3), [
    { startMs: 10, endMs: 20, n: 2, values: [3, 4], closed: false },
  ]);
});

test('when nothing comes any more, windows close by the wall clock, and stay closed', async () => {
  for (const closing of ['partition', 'key']) {
    await using driver = await TestDriver.start(counting({ idleAfterMs: 5_000, closing }));
    await driver.pipe('in', at(1));
    await driver.advance(4_999);
    assert.deepEqual(await told(driver), []);
    await driver.advance(1);
    assert.equal((await told(driver)).length, 1);
    await driver.restart({ wipe: true });
    // Its window has closed by idleness, which a crash does not undo.
    await driver.pipe('in', at(2));
    assert.equal((await told(driver, 'late')).length, 1);
  }
});

test('what a command adds late, and what onLate adds then, is told within the command', async () => {
  const processor = defineProcessor({
    inputs: { in: topic({ key: string(), value: int64() }) },
    outputs: { out: topic({ key: string(), value: json<unknown>() }) },
    stores: {
      w: windowed({
        key: string(),
        value: int64(),
        window: tumbling(10),
        aggregate: (of) => ({ n: of.count() }),
      }),
      missed: windowed({
        key: string(),
        value: int64(),
        window: count(5),
        emission: 'updates',
        aggregate: (of) => ({ n: of.count() }),
      }),
    },
    process({ key, value }, { stores }) {
      stores.w.add(key, value);
    },
    windows: { missed: 'out' },
    onLate: {
      w({ key, value }, { stores }) {
        stores.missed.add(key, value);
      },
    },
    commands: {
      add: ({ stores }, key: string) => {
        stores.w.add(key, 1);
      },
    },
  });
  // The command's time is the driver's clock, long before that of the record.
  await using driver = await TestDriver.start(processor, { startMs: 1_000 });
  await driver.pipe('in', { key: 'a', value: 1, timestamp: 5_000 });
  await driver.command('add', { key: 'a' });
  await driver.checkpoint();
  assert.deepEqual(
    (await driver.outputs('out')).map(({ value }) => value),
    [{ n: 1 }],
  );
});

test('late events of a command that fails are not counted', async () => {
  const processor = defineProcessor({
    inputs: { in: topic({ key: string(), value: int64() }) },
    stores: {
      w: windowed({
        key: string(),
        value: int64(),
        window: tumbling(10),
        aggregate: (of) => ({ n: of.count() }),
      }),
    },
    process({ key, value }, { stores }) {
      stores.w.add(key, value);
    },
    onLate: {
      w({ value }) {
        if (value < 0) throw new Error('A late event fails.');
      },
    },
    commands: {
      add: ({ stores }, key: string, value: number) => {
        stores.w.add(key, value);
      },
    },
  });
  // The command's time is the driver's clock, long before that of the record.
  await using driver = await TestDriver.start(processor, { startMs: 1_000 });
  await driver.pipe('in', { key: 'a', value: 1, timestamp: 5_000 });
  await assert.rejects(driver.command('add', { key: 'a' }, -1), { code: 'HANDLER_FAILED' });
  assert.equal((await driver.stats())[0]?.late, 0);
  await driver.command('add', { key: 'a' }, 1);
  assert.equal((await driver.stats())[0]?.late, 1);
});

test('windows by count take no notice of time', async () => {
  await using driver = await TestDriver.start(counting({ window: count(2) }));
  for (const time of [50, 3, 1_000_000, 7, 8]) await driver.pipe('in', at(time));
  assert.deepEqual(await told(driver), [
    { startMs: 3, endMs: 50, n: 2, values: [50, 3], closed: true },
    { startMs: 7, endMs: 1_000_000, n: 2, values: [1_000_000, 7], closed: true },
  ]);
});
