/**
 * What becomes of a manager when topics, offsets, bytes, disks and brokers change under it: a typed error with nothing
 * touched where an operator has to decide, and otherwise recovery with nothing lost and nothing twice.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { ClassicLevel } from 'classic-level';
import { describeKafka } from '../support/describe-kafka.js';
import {
  atDesk,
  failureOf,
  plainLoop,
  refusal,
  until,
  type Amount,
  KafkaDesk,
} from '../support/kafka-desk.js';
import { freePort } from '../support/kafka-layout.js';
import { otherCommitted } from '../support/other-client.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const soon = { timeout: 60_000 };
const END_TRANSACTION = 26;
/** Longer than sessions, transactions and retries of these managers last. */
const AWAY_MS = 21_000;

function ones(count: number, keys = ['a']): Amount[] {
  return Array.from({ length: count }, (_, i) => ({ key: keys[i % keys.length]!, value: 1 }));
}

/** Processes the first amounts and stops in order. */
async function firstRun(desk: KafkaDesk, amounts: readonly Amount[]): Promise<void> {
  await desk.produce(amounts);
  const manager = await desk.startTotals();
  await manager.ready();
  await desk.totalsByKey(amounts.length);
  await manager.stop();
}

async function recreate(
  desk: KafkaDesk,
  topic: string,
  configs: Readonly<Record<string, string>> = {},
): Promise<void> {
  await desk.deleteTopic(topic);
  await desk.createTopic(topic, 1, configs);
}

/** Everything that the database of the first partition holds. */
async function entries(desk: KafkaDesk): Promise<readonly (readonly [string, string])[]> {
  const folder = join(desk.stateDir, desk.of, 'sums', '0', 'level');
  const database = new ClassicLevel(folder, { keyEncoding: 'hex', valueEncoding: 'hex' });
  try {
    return await database.iterator().all();
  } finally {
    await database.close();
  }
}

describeKafka('topics and offsets that change', { otherClient: true }, (broker) => {
  const brokers = (): readonly string[] => broker().brokers;

  test(
    'a changelog that was deleted and made anew is STATE_MISSING with files and offsets untouched, until startEmpty',
    soon,
    async () => {
      await atDesk('lost-changelog', brokers(), async (desk) => {
        await desk.createTopics();
        await firstRun(desk, ones(3));
        const committed = await otherCommitted(brokers(), desk.amounts, desk.of);
        const before = await entries(desk);
        assert.ok(before.length > 0);
        await recreate(desk, desk.changelog, { 'cleanup.policy': 'compact' });
        await desk.produce(ones(1));
        const start = async (onStateMissing: 'error' | 'startEmpty') => {
          const manager = await desk.startTotals({ onStateMissing });
          await manager.ready();
          return manager;
        };
        await refusal(start('error'), 'STATE_MISSING', 'sums-0', 'onStateMissing');
        await desk.stopManagers();
        assert.deepEqual(await entries(desk), before);
        const still = await otherCommitted(brokers(), desk.amounts, desk.of);
        assert.deepEqual(
          still.map(({ offset }) => offset),
          committed.map(({ offset }) => offset),
        );
        const manager = await start('startEmpty');
        // The fourth record is the first of the new state; none is processed twice.
        assert.deepEqual((await desk.totalsByKey(4)).get('a'), [1, 2, 3, 1]);
        await manager.stop();
      });
    },
  );

  test(
    'a changelog that is deleted and made anew under a running manager ends it with STATE_MISSING',
    soon,
    async () => {
      await atDesk('torn-changelog', brokers(), async (desk) => {
        await desk.createTopics();
        await desk.produce(ones(2));
        const manager = await desk.startTotals();
        await manager.ready();
        await desk.totalsByKey(2);
        const failing = failureOf(manager);
        await recreate(desk, desk.changelog, { 'cleanup.policy': 'compact' });
        await desk.produce(ones(1));
        const error = await failing;
        assert.ok(['STATE_MISSING', 'TOPIC_MISSING'].includes(error.code), `${error.code}: ${error.message}`);
        assert.ok(error.message.includes(desk.of), error.message);
        const [committed] = await otherCommitted(brokers(), desk.amounts, desk.of);
        assert.equal(committed?.offset, 2);
        await desk.stopManagers();
        await refusal(
          desk.startTotals().then((again) => again.ready()),
          'STATE_MISSING',
          'sums-0',
        );
      });
    },
  );

  test(
    'an input that was deleted and made anew is out of range by policy, also with as many records as before',
    soon,
    async () => {
      await atDesk('new-input', brokers(), async (desk) => {
        await desk.createTopics();
        await firstRun(desk, ones(2));
        await recreate(desk, desk.amounts);
        await desk.produce(ones(3));
        const start = async (onOutOfRange: 'error' | 'earliest') => {
          const manager = await desk.startTotals({ onOutOfRange });
          await manager.ready();
        };
        await refusal(start('error'), 'OFFSET_OUT_OF_RANGE', desk.amounts, 'recreated');
        await desk.stopManagers();
        await start('earliest');
        assert.deepEqual((await desk.totalsByKey(5)).get('a'), [1, 2, 3, 4, 5]);
      });
    },
  );

  test('an input that is deleted and made anew under a running manager goes on by policy', soon, async () => {
    await atDesk('torn-input', brokers(), async (desk) => {
      await desk.createTopics();
      await desk.produce(ones(2));
      const manager = await desk.startTotals({
        onOutOfRange: 'earliest',
        log: { brokers: brokers(), metadataMaxAgeMs: 300 },
      });
      await manager.ready();
      await desk.totalsByKey(2);
      await recreate(desk, desk.amounts);
      await desk.produce(ones(3));
      assert.deepEqual((await desk.totalsByKey(5)).get('a'), [1, 2, 3, 4, 5]);
    });
  });

  test(
    'partitions added to an input stop a stream with state within the age of metadata, before their records',
    soon,
    async () => {
      await atDesk('grown', brokers(), async (desk) => {
        await desk.createTopics();
        await desk.produce(ones(1));
        const manager = await desk.startTotals({ log: { brokers: brokers(), metadataMaxAgeMs: 500 } });
        await manager.ready();
        const failing = failureOf(manager);
        const began = performance.now();
        const admin = await desk.admin();
        await admin.createPartitions({ topicPartitions: [{ topic: desk.amounts, count: 2 }] });
        const error = await failing;
        assert.equal(error.code, 'PARTITIONS_CHANGED', error.message);
        assert.ok(error.message.includes(desk.amounts), error.message);
        assert.ok(performance.now() - began < 10_000);
        await desk.stopManagers();
        await refusal(desk.startTotals(), 'CHANGELOG_INVALID', desk.changelog, 'partitions');
      });
    },
  );

  test('a stream without state takes the partitions that are added to its input', soon, async () => {
    await atDesk('stretched', brokers(), async (desk) => {
      await desk.createTopics();
      const manager = await desk.startCopies({ log: { brokers: brokers(), metadataMaxAgeMs: 500 } });
      await manager.ready();
      const admin = await desk.admin();
      await admin.createPartitions({ topicPartitions: [{ topic: desk.amounts, count: 2 }] });
      await until('the new partition', () =>
        manager.stats().then(({ partitions }) => partitions.length === 2),
      );
      await desk.produce([
        { key: 'a', value: 7, partition: 1 },
        { key: 'a', value: 8, partition: 1 },
      ]);
      assert.deepEqual((await desk.totalsByKey(2)).get('a'), [7, 8]);
    });
  });

  for (const policy of ['error', 'earliest', 'latest'] as const)
    test(
      `records that retention has deleted before they were processed: onOutOfRange '${policy}', and the group's offset is never lost`,
      soon,
      async () => {
        await atDesk(`retained-${policy}`, brokers(), async (desk) => {
          await desk.createTopics();
          await firstRun(desk, ones(2));
          await desk.produce(ones(3));
          const admin = await desk.admin();
          await admin.fetchTopicOffsets(desk.amounts);
          await admin.deleteTopicRecords({
            topic: desk.amounts,
            partitions: [{ partition: 0, offset: '4' }],
          });
          const start = async () => {
            const manager = await desk.startTotals({ onOutOfRange: policy });
            await manager.ready();
            return manager;
          };
          if (policy === 'error') {
            await refusal(start(), 'OFFSET_OUT_OF_RANGE', desk.amounts, 'onOutOfRange');
            const [committed] = await otherCommitted(brokers(), desk.amounts, desk.of);
            assert.equal(committed?.offset, 2);
            return;
          }
          const manager = await start();
          await desk.produce(ones(1));
          const expected = policy === 'earliest' ? [1, 2, 3, 4] : [1, 2, 3];
          assert.deepEqual((await desk.totalsByKey(expected.length)).get('a'), expected);
          await manager.stop();
          const [committed] = await otherCommitted(brokers(), desk.amounts, desk.of);
          assert.equal(committed?.offset, 6);
        });
      },
    );

  test(
    'offsets that an operator moves are refused, or taken from the state or from the group as the policy says',
    soon,
    async () => {
      await atDesk('moved', brokers(), async (desk) => {
        await desk.createTopics();
        await firstRun(desk, ones(2));
        await desk.produce([
          { key: 'a', value: 10 },
          { key: 'a', value: 100 },
        ]);
        const admin = await desk.admin();
        const move = (offset: string) =>
          admin.setOffsets({ groupId: desk.of, topic: desk.amounts, partitions: [{ partition: 0, offset }] });
        const start = async (onOffsetsMoved: 'error' | 'useGroup' | 'useState') => {
          const manager = await desk.startTotals({ onOffsetsMoved });
          await manager.ready();
        };
        await move('0');
        await refusal(start('error'), 'OFFSETS_MOVED', desk.amounts, 'onOffsetsMoved');
        await desk.stopManagers();
        // Going back with the state kept would count records twice.
        await refusal(start('useGroup'), 'OFFSETS_MOVED', desk.amounts);
        await desk.stopManagers();
        const [committed] = await otherCommitted(brokers(), desk.amounts, desk.of);
        assert.equal(committed?.offset, 0);
        await move('3');
        await start('useGroup');
        assert.deepEqual((await desk.totalsByKey(3)).get('a'), [1, 2, 102]);
        await desk.stopManagers();
        await move('0');
        await start('useState');
        await desk.produce(ones(1));
        assert.deepEqual((await desk.totalsByKey(4)).get('a'), [1, 2, 102, 103]);
      });
    },
  );

  test(
    'a full disk restarts the partition, and with space again nothing is lost and nothing twice',
    soon,
    async (t) => {
      await atDesk('full', brokers(), async (desk) => {
        if (!mount(desk.stateDir)) {
          t.diagnostic('Only root can mount a small disk; storage-disk-full.test.ts has the limit on files.');
          return;
        }
        try {
          await desk.createTopics();
          const manager = await desk.startTotals({ restarts: { max: 100, firstMs: 100, maxMs: 300 } });
          await manager.ready();
          const errors: unknown[] = [];
          manager.on('restarting', ({ error }) => errors.push(error));
          const ballast = join(desk.stateDir, 'ballast');
          const amounts = Array.from({ length: 3_000 }, (_, i) => ({
            key: `${'k'.repeat(400)}${i % 1_500}`,
            value: 1,
          }));
          fill(ballast);
          for (let i = 0; i < amounts.length; i += 1_000) await desk.produce(amounts.slice(i, i + 1_000));
          await until('the disk to be full', () => errors.length > 0);
          assert.ok(
            errors.some((error) => (error as { code?: string }).code === 'DISK_FULL'),
            String(errors[0]),
          );
          rmSync(ballast);
          assert.deepEqual(await desk.committedTotals(amounts.length), plainLoop(amounts));
          await manager.stop();
        } finally {
          await desk.stopManagers();
          spawnSync('umount', [desk.stateDir]);
        }
      });
    },
  );
});

const DISK_BYTES = 4 << 20;

function mount(directory: string): boolean {
  return spawnSync('mount', ['-t', 'tmpfs', '-o', `size=${DISK_BYTES}`, 'tmpfs', directory]).status === 0;
}

/** Until the disk takes no more. */
function fill(file: string): void {
  for (let bytes = DISK_BYTES; bytes >= 4_096; bytes >>= 1)
    try {
      writeFileSync(file, Buffer.alloc(bytes), { flag: 'a' });
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error;
    }
}

const proxy = await TcpProxy.listen(await freePort());

describeKafka(
  'a network that damages, and a broker that goes away',
  {
    controlled: true,
    otherClient: true,
    configs: { 'advertised.listeners': `PLAINTEXT://${proxy.address}` },
  },
  (broker) => {
    test.before(() => {
      proxy.target = Number(broker().brokers[0]!.split(':')[1]);
    });
    test.after(() => proxy.close());
    const brokers = (): readonly string[] => [proxy.address];

    /** Damages what holds `needle`, `times` times. */
    function damage(needle: string, times: number): { done: number } {
      const count = { done: 0 };
      proxy.onAnswer = (bytes) => {
        const at = bytes.indexOf(needle);
        if (at < 0 || count.done >= times) return bytes;
        count.done++;
        const damaged = Buffer.from(bytes);
        damaged[at]! ^= 1;
        return damaged;
      };
      return count;
    }

    test(
      'a record batch that the network damaged once is fetched again, and processed once',
      soon,
      async () => {
        await atDesk('flip', brokers(), async (desk) => {
          await desk.createTopics();
          const manager = await desk.startTotals();
          await manager.ready();
          await desk.produce([{ key: 'a', value: 1 }]);
          await desk.totalsByKey(1);
          const count = damage('needle', 1);
          try {
            await desk.produce([{ key: 'needle', value: 1 }]);
            await until('the damage', () => count.done === 1);
            await until('the total', () =>
              manager.streams.sums.query('total', { key: 'needle' }).then(
                (sum) => sum === 1,
                () => false,
              ),
            );
          } finally {
            proxy.onAnswer = (bytes) => bytes;
          }
          assert.deepEqual(
            await desk.totalsByKey(2),
            new Map([
              ['a', [1]],
              ['needle', [1]],
            ]),
          );
        });
      },
    );

    test(
      'a record batch that stays damaged fails the partition with topic, partition and offset',
      soon,
      async () => {
        await atDesk('flips', brokers(), async (desk) => {
          await desk.createTopics();
          const manager = await desk.startTotals();
          await manager.ready();
          await desk.produce(ones(2));
          await desk.totalsByKey(2);
          const failing = failureOf(manager);
          damage('needle', Infinity);
          try {
            await desk.produce([{ key: 'needle', value: 1 }]);
            const error = await failing;
            assert.equal(error.code, 'RECORD_BATCH_CORRUPT', error.message);
            assert.match(error.message, /flips-amounts.*\b0\b.*\b2\b/);
          } finally {
            proxy.onAnswer = (bytes) => bytes;
          }
          await desk.stopManagers();
          const again = await desk.startTotals();
          await again.ready();
          assert.deepEqual(
            await desk.totalsByKey(3),
            new Map([
              ['a', [1, 2]],
              ['needle', [1]],
            ]),
          );
        });
      },
    );

    test(
      'a changelog page that the network damaged once is read again when the state is rebuilt',
      soon,
      async () => {
        await atDesk('flipped-changelog', brokers(), async (desk) => {
          await desk.createTopics();
          await firstRun(desk, [{ key: 'needle', value: 1 }]);
          rmSync(desk.stateDir, { recursive: true });
          await mkdir(desk.stateDir);
          await desk.produce([{ key: 'a', value: 1 }]);
          const count = damage('needle', 1);
          try {
            const manager = await desk.startTotals();
            await manager.ready();
            assert.equal(count.done, 1);
            assert.equal(await manager.streams.sums.query('total', { key: 'needle' }), 1);
          } finally {
            proxy.onAnswer = (bytes) => bytes;
          }
        });
      },
    );

    test(
      'a commit whose answer is lost with its broker is settled: nothing is lost and nothing twice',
      soon,
      async () => {
        await atDesk('in-doubt', brokers(), async (desk) => {
          await desk.createTopics();
          const manager = await desk.startTotals({
            log: { brokers: brokers(), retryTimeoutMs: 20_000 },
            transactionTimeoutMs: 8_000,
          });
          await manager.ready();
          await desk.produce(ones(2));
          await desk.totalsByKey(2);
          let killing: Promise<void> | undefined;
          proxy.onRequest = (apiKey) => {
            if (apiKey !== END_TRANSACTION || killing !== undefined) return true;
            // The request gets through, and perhaps it is carried out; its answer does not come.
            killing = (async () => {
              await sleep(30);
              await broker().kill();
            })();
            return true;
          };
          proxy.onAnswer = (bytes) => (killing === undefined ? bytes : Buffer.alloc(0));
          await desk.produce(ones(3));
          await until('the commit', () => killing !== undefined);
          await killing;
          proxy.onRequest = () => true;
          proxy.onAnswer = (bytes) => bytes;
          proxy.cut();
          await broker().start();
          await desk.produce(ones(2));
          assert.deepEqual((await desk.committedTotals(7)).get('a'), [1, 2, 3, 4, 5, 6, 7]);
          assert.equal(manager.state, 'running');
        });
      },
    );

    test(
      'a broker that is away for longer than any time-out costs nothing under either guarantee',
      { timeout: 90_000 },
      async () => {
        const desks = (['exactly-once', 'at-least-once'] as const).map((guarantee) => ({
          guarantee,
          desk: new KafkaDesk(`away-${guarantee}`, brokers()),
        }));
        const amounts = ones(2_000, ['a', 'b', 'c']);
        try {
          const running = await Promise.all(
            desks.map(async ({ guarantee, desk }) => {
              await desk.createTopics();
              const manager = await desk.startTotals({
                guarantee,
                restarts: { max: 1_000, firstMs: 100, maxMs: 1_000 },
              });
              await manager.ready();
              let fatal: unknown;
              manager.once('failed', ({ error }) => (fatal = error));
              await desk.produce(amounts.slice(0, 1_000));
              return { guarantee, desk, manager, fatal: () => fatal };
            }),
          );
          await broker().kill();
          await sleep(AWAY_MS);
          await broker().start();
          const back = performance.now();
          for (const { guarantee, desk, manager, fatal } of running) {
            await desk.produce(amounts.slice(1_000));
            await until(
              'everything to be processed',
              async () => (await total(manager, ['a', 'b', 'c'])) === amounts.length || fatal() !== undefined,
            );
            assert.equal(fatal(), undefined);
            const tookMs = performance.now() - back;
            assert.ok(tookMs < 15_000, `resumed after ${tookMs} ms`);
            const read = await desk.committedTotals(amounts.length);
            if (guarantee === 'exactly-once') assert.deepEqual(read, plainLoop(amounts));
            // At least once: every total is there, perhaps some twice.
            else
              for (const [key, sums] of plainLoop(amounts))
                assert.deepEqual([...new Set(read.get(key))], sums);
          }
        } finally {
          for (const { desk } of desks) await desk.close();
        }
      },
    );
  },
);

async function total(
  manager: Awaited<ReturnType<KafkaDesk['startTotals']>>,
  keys: readonly string[],
): Promise<number> {
  const sums = await Promise.all(
    keys.map((key) => manager.streams.sums.query('total', { key, timeoutMs: 1_000 }).catch(() => 0)),
  );
  return sums.reduce<number>((sum, one) => sum + (one ?? 0), 0);
}
