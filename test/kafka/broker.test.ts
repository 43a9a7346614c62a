/**
 * Proves the broker that Kafka tests stand on: it keeps its data over a restart and a kill, and ends with its test. It
 * never tests Partita itself. broker-cluster.test.ts comes next.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, readdir, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { describeKafka } from '../support/describe-kafka.js';
import { kafkaBroker, type KafkaBroker } from '../support/kafka-broker.js';
import { aliveNodes } from '../support/kafka-wire.js';
import { client, consume, createTopic, produce } from '../support/plain-client.js';

const forgetfulProcess = fileURLToPath(new URL('../fixtures/forgotten-broker.js', import.meta.url));

/** Runs a process that starts a broker and ends in this way; the broker has to be gone. */
async function forgets(mode: 'exit' | NodeJS.Signals): Promise<void> {
  const directory = await mkdtemp(join(tmpdir(), 'partita-forgotten-'));
  const env = { ...process.env, TMPDIR: directory };
  const forgetful = spawn(process.execPath, [forgetfulProcess, mode], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const gone = once(forgetful, 'exit');
  try {
    const [line] = (await once(forgetful.stdout, 'data')) as [Buffer];
    const address = line.toString().trim();
    if (mode !== 'exit') {
      assert.deepEqual(await aliveNodes(address), [1]);
      forgetful.kill(mode);
    }
    await gone;
    await sleep(200);
    await assert.rejects(aliveNodes(address), { code: 'ECONNREFUSED' });
    if (mode !== 'SIGKILL') assert.deepEqual(await readdir(directory), []);
  } finally {
    forgetful.kill('SIGKILL');
    await rm(directory, { recursive: true, force: true });
  }
}

describeKafka('one broker', { controlled: true }, (broker) => {
  test('records that were produced are consumed', async () => {
    const kafka = client(broker().brokers);
    await createTopic(kafka, 'first');
    await produce(kafka, 'first', 'a', 'b');
    assert.deepEqual(await consume(kafka, 'first', 2), ['a', 'b']);
    assert.equal(await broker().leaderOf('first', 0), broker().nodes[0]);
  });

  test('a restart keeps topics, records and the port', async () => {
    const kafka = client(broker().brokers);
    await createTopic(kafka, 'restarted');
    await produce(kafka, 'restarted', 'before');
    const before = broker().pid();
    await broker().restart();
    assert.deepEqual(await aliveNodes(broker().brokers[0]!), broker().nodes, 'it serves at once');
    assert.notEqual(broker().pid(), before);
    await produce(kafka, 'restarted', 'after');
    assert.deepEqual(await consume(kafka, 'restarted', 2), ['before', 'after']);
  });

  test('a killed broker is gone, and has its records when it is started again', async () => {
    const kafka = client(broker().brokers, { retry: { retries: 0 } });
    await createTopic(kafka, 'killed');
    await produce(kafka, 'killed', 'before');
    await broker().kill();
    assert.equal(broker().pid(), undefined);
    await assert.rejects(produce(kafka, 'killed', 'lost'), /ECONNREFUSED/);
    await broker().start();
    assert.deepEqual(await consume(client(broker().brokers), 'killed', 1), ['before']);
  });

  test('a paused broker answers nothing until it is resumed', async () => {
    const kafka = client(broker().brokers);
    await createTopic(kafka, 'paused');
    broker().pause();
    let done = false;
    const sent = produce(kafka, 'paused', 'late').then(() => (done = true));
    await sleep(500);
    assert.equal(done, false);
    broker().resume();
    await sent;
    assert.deepEqual(await consume(kafka, 'paused', 1), ['late']);
  });

  test('a broker that its test forgot ends with the process of the test', () => forgets('exit'));

  test('a broker that its test forgot ends when that process is terminated', () => forgets('SIGTERM'));

  // Elsewhere nobody tells a process that its parent was killed.
  if (process.platform === 'linux')
    test('a broker that its test forgot ends when that process is killed', () => forgets('SIGKILL'));

  test('a broker that cannot start says why, in its own words', async () => {
    const start = (configs: Record<string, string>): Promise<KafkaBroker | undefined> =>
      kafkaBroker({ configs });
    await assert.rejects(start({ 'log.segment.bytes': '-1' }), /log\.segment\.bytes/);
    await assert.rejects(
      start({ 'metric.reporters': 'no.such.Reporter' }),
      /ended while.*no\.such\.Reporter/s,
    );
  });
});
