/**
 * The rules of recovery, one test each, as a user meets them: a manager starts on a log, a directory and a group that
 * somebody or something has changed meanwhile. Some are the suite of
 * `contract/recovery.ts`, which a broker passes too; resets are in `recovery-resets.test.ts`.
 */
import assert from 'node:assert/strict';
import { cp, mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, it } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { type EmbeddedLog, type EngineKind } from '../../src/index.js';
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import type { LogFactory } from '../../src/log/log-client.js';
import { recoverySuite } from '../contract/recovery.js';
import { amount, LEDGER_CHANGELOG, LedgerDesk, refused, type LedgerOptions } from '../support/ledger-desk.js';
import { until } from '../support/waiting.js';

describe('on the embedded log', () => {
  recoverySuite(() => LedgerDesk.open());
});

const AT_ONCE = { restarts: { max: 0 } } as const;
const INPUT = { topic: 'amounts', partition: 0 };
const ENGINES: readonly EngineKind[] = ['level', 'memory'];

let desk: LedgerDesk;
let log: EmbeddedLog;
/** Pages of the changelog that may still be read; the others wait. */
let pages = Infinity;
const faults: LogFaults = {
  before: async (operation, { topic }) => {
    if (operation !== 'read' || topic !== LEDGER_CHANGELOG) return;
    pages--;
    while (pages < 0) await sleep(5);
  },
};
const run: LedgerDesk['run'] = (...given) => desk.run(...given);

describe('on the embedded log alone', () => {
  beforeEach(async () => {
    pages = Infinity;
    desk = await LedgerDesk.open({ faults });
    ({ log } = desk);
  });

  afterEach(() => {
    pages = Infinity;
    return desk.close();
  });

  describe('a database', () => {
    it('that is ahead of a log that came back from a backup is rebuilt, and the records count again', async () => {
      const directory = await mkdtemp(join(tmpdir(), 'partita-backup-'));
      const stateDir = join(directory, 'state');
      const onDisk = async (use: (desk: LedgerDesk) => Promise<void>): Promise<void> => {
        const opened = await LedgerDesk.open({ dir: join(directory, 'log') });
        try {
          await use(opened);
        } finally {
          await opened.close();
        }
      };
      try {
        await onDisk(async ({ log: disk }) => {
          await disk.produce('amounts', [amount('a', 1)]);
        });
        await onDisk(async (opened) => {
          await opened.run({ stateDir });
        });
        await cp(join(directory, 'log'), join(directory, 'backup'), { recursive: true });
        await onDisk(async (opened) => {
          await opened.log.produce('amounts', [amount('a', 2), amount('b', 5)]);
          assert.deepEqual((await opened.run({ stateDir })).state, { a: [3, 2], b: [5, 1] });
        });
        await rm(join(directory, 'log'), { recursive: true });
        await cp(join(directory, 'backup'), join(directory, 'log'), { recursive: true });
        await onDisk(async (opened) => {
          const { state, warnings } = await opened.run({ stateDir });
          assert.match(warnings.join(), /is past the changelog's end/);
          assert.deepEqual(state, { a: [1, 1] });
        });
      } finally {
        await rm(directory, { recursive: true, force: true });
      }
    });

    it('keeps what was replayed into it when the manager stops within a recovery', async () => {
      const keys = Array.from({ length: 100 }, (_, i) => amount(`k${String(i)}`, i));
      for (const record of keys.slice(0, 20)) {
        await log.produce('amounts', [record]);
        const end = (await log.bounds('amounts'))[0]!.end;
        if (end === 1) await run({ engine: 'memory' });
      }
      const first = await desk.start({ engine: 'memory' });
      for (let i = 20; i < keys.length; i += 8) {
        await log.produce('amounts', keys.slice(i, i + 8));
        await first.ready();
        const end = (await log.bounds('amounts'))[0]!.end;
        await until(async () => (await desk.committed())?.offset === end);
      }
      await first.stop();
      pages = 3;
      const options: LedgerOptions = { recovery: { pageBytes: 400 } };
      const stopped = await desk.start(options);
      await until(() => pages < 0);
      const stopping = stopped.stop({ deadlineMs: 10_000 });
      await sleep(20);
      pages = Infinity;
      await stopping;
      const { state, restored } = await run(options);
      assert.equal(Object.keys(state).length, 100);
      assert.ok(
        restored[0]! > 0 && restored[0]! < 200,
        `${String(restored[0])} of 200 entries were left to be replayed`,
      );
    });
  });

  for (const engine of ENGINES)
    describe(`the group's offsets, on ${engine}`, () => {
      beforeEach(async () => {
        await log.produce('amounts', [amount('a', 1), amount('a', 2), amount('b', 3)]);
        await run({ engine });
      });

      it('were moved by an operator: that is an error until he says what it means', async () => {
        await log.setOffset('g', INPUT, 1);
        await refused(run({ engine, ...AT_ONCE }), 'OFFSETS_MOVED');
        assert.equal((await desk.committed())?.offset, 1, 'nothing was written');
        await refused(run({ engine, onOffsetsMoved: 'useGroup', ...AT_ONCE }), 'OFFSETS_MOVED');
        const { state, warnings } = await run({ engine, onOffsetsMoved: 'useState' });
        assert.deepEqual(state, { a: [3, 2], b: [3, 1] });
        assert.match(warnings.join(), /going on with the state's/);
      });

      it('were moved forwards: what is skipped is skipped, and the state kept', async () => {
        await log.produce('amounts', [amount('b', 100), amount('b', 5)]);
        await log.setOffset('g', INPUT, 4);
        const { state, warnings } = await run({ engine, onOffsetsMoved: 'useGroup' });
        assert.deepEqual(state, { a: [3, 2], b: [8, 2] });
        assert.match(warnings.join(), /going on with the group's/);
      });

      it('are older than the state in a stale answer: it is asked again', async () => {
        const stale = await log.committed('g');
        await log.produce('amounts', [amount('b', 4)]);
        const after = { a: [3, 2], b: [7, 2] };
        assert.deepEqual((await run({ engine })).state, after);
        let left = 3;
        const lagging: LogFactory = {
          kind: 'lagging',
          connect: async (options) => {
            const client = await log.connect(options);
            const committed: typeof client.committed = (group, partitions) =>
              left-- > 0
                ? Promise.resolve(stale.slice(0, partitions.length))
                : client.committed(group, partitions);
            return new Proxy(client, {
              get: (target, name) => {
                if (name === 'committed') return committed;
                const member = Reflect.get(target, name) as unknown;
                return typeof member === 'function' ? (member.bind(target) as unknown) : member;
              },
            });
          },
        };
        await log.produce('amounts', [amount('b', 1)]);
        assert.deepEqual((await run({ engine, log: lagging })).state, { a: [3, 2], b: [8, 3] });
        assert.ok(left < 0, 'the stale answers were given');
      });
    });

  describe('an input', () => {
    it('that was deleted and created again is an error, or goes on by onOutOfRange', async () => {
      await log.produce('amounts', [amount('a', 1), amount('a', 2)]);
      await run();
      await log.deleteTopic('amounts');
      await log.createTopic({ topic: 'amounts', partitions: 1 });
      await log.produce('amounts', [amount('a', 10)]);
      // With a topic its committed offsets go: only the id in the checkpoint tells.
      await refused(run(AT_ONCE), 'OFFSET_OUT_OF_RANGE');
      const { state, warnings } = await run({ onOutOfRange: 'earliest' });
      assert.deepEqual(state, { a: [13, 3] });
      assert.match(warnings.join(), /recreated/);
      await log.deleteTopic('amounts');
      await log.createTopic({ topic: 'amounts', partitions: 1 });
      await log.produce('amounts', [amount('a', 10)]);
      assert.deepEqual((await run({ onOutOfRange: 'latest' })).state, { a: [13, 3] });
    });

    for (const [policy, sum] of [
      ['earliest', 41],
      ['latest', 1],
    ] as const)
      it(`that has lost the records after a position goes on at the ${policy} offset, in that partition alone`, async () => {
        await log.produce('amounts', [amount('a', 1)]);
        await run();
        await log.produce('amounts', [amount('a', 2), amount('a', 40)]);
        await log.deleteRecords('amounts', 0, 2);
        await refused(run(AT_ONCE), 'OFFSET_OUT_OF_RANGE');
        const { state, warnings } = await run({ onOutOfRange: policy });
        assert.equal(state['a']![0], sum);
        assert.match(warnings.join(), /is outside/);
      });

    it('out of range stops its own partition; the others go on', async () => {
      await desk.close();
      desk = await LedgerDesk.open({}, 2);
      ({ log } = desk);
      const at = (partition: number, value: number) => ({
        ...amount(`k${String(partition)}`, value),
        partition,
      });
      await log.produce('amounts', [at(0, 1), at(1, 1)]);
      const first = await desk.start();
      await until(async () => (await log.committed('g')).filter(({ offset }) => offset === 1).length === 2);
      await first.stop();
      await log.produce('amounts', [at(0, 2), at(0, 3), at(1, 2)]);
      await log.deleteRecords('amounts', 0, 2);
      const manager = await desk.start({ onPartitionFailed: 'isolate', ...AT_ONCE });
      await until(async () =>
        (await log.committed('g')).some((row) => row.partition === 1 && row.offset === 2),
      );
      assert.deepEqual(await manager.streams.ledger.query('all', { partition: 1 }), { k1: [3, 2] });
      await refused(manager.streams.ledger.query('all', { partition: 0 }), 'OFFSET_OUT_OF_RANGE');
    });
  });
});
