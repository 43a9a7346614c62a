/**
 * Proves the brokers that all Kafka tests stand on: they keep their data over a restart and a kill, a cluster survives
 * one node, and each way to log in works. It never tests Partita itself.
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
import { Kafka, logLevel, type KafkaConfig } from 'kafkajs';
import { describeKafka } from '../support/describe-kafka.js';
import { kafkaBroker, type KafkaBroker, type KafkaSasl } from '../support/kafka-broker.js';
import { aliveNodes } from '../support/kafka-wire.js';

function client(brokers: readonly string[], config: Partial<KafkaConfig> = {}): Kafka {
  return new Kafka({
    brokers: [...brokers],
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 50, retries: 8 },
    ...config,
  });
}

async function createTopic(kafka: Kafka, topic: string): Promise<void> {
  const admin = kafka.admin();
  await admin.connect();
  await admin.createTopics({ waitForLeaders: true, topics: [{ topic, numPartitions: 1 }] });
  await admin.disconnect();
}

async function produce(kafka: Kafka, topic: string, ...values: readonly string[]): Promise<void> {
  const producer = kafka.producer();
  await producer.connect();
  await producer.send({ topic, acks: -1, messages: values.map((value) => ({ key: 'k', value })) });
  await producer.disconnect();
}

/** The first `count` values of `topic`, read by a group of its own. */
async function consume(kafka: Kafka, topic: string, count: number): Promise<string[]> {
  const consumer = kafka.consumer({ groupId: `${topic}-${Math.random()}`, maxWaitTimeInMs: 50 });
  const values: string[] = [];
  await consumer.connect();
  await consumer.subscribe({ topic, fromBeginning: true });
  try {
    await new Promise<void>((resolve, reject) => {
      AbortSignal.timeout(20_000).onabort = () => {
        reject(new Error(`Read ${values.join(', ')} within 20 s.`));
      };
      consumer
        .run({
          eachMessage: async ({ message }) => {
            values.push(String(message.value));
            if (values.length >= count) resolve();
          },
        })
        .catch(reject);
    });
  } finally {
    await consumer.disconnect();
  }
  return values;
}

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

describeKafka('a cluster of three', { nodes: 3 }, (broker) => {
  test('it loses no record and no leader for long when a node is killed, and takes the node back', async () => {
    const kafka = client(broker().brokers);
    await createTopic(kafka, 'moves');
    await produce(kafka, 'moves', 'before');
    const leader = await broker().leaderOf('moves', 0);
    assert.ok(broker().nodes.includes(leader));
    await broker().kill(leader);
    await produce(kafka, 'moves', 'after');
    const next = await broker().leaderOf('moves', 0);
    assert.notEqual(next, leader);
    assert.ok(broker().nodes.includes(next));
    assert.deepEqual(await consume(kafka, 'moves', 2), ['before', 'after']);
    await broker().start(leader);
    await broker().kill(next);
    await produce(kafka, 'moves', 'again');
    assert.deepEqual(await consume(kafka, 'moves', 3), ['before', 'after', 'again']);
  });
});

describeKafka('a secured broker', { listeners: 'SASL_SSL' }, (broker) => {
  const sasl = (): KafkaSasl => {
    const found = broker().sasl;
    assert.ok(found);
    return found;
  };

  async function topicsOf(brokers: readonly string[], config: Partial<KafkaConfig>): Promise<string[]> {
    const admin = client(brokers, { retry: { retries: 0 }, ...config }).admin();
    try {
      await admin.connect();
      return await admin.listTopics();
    } finally {
      await admin.disconnect();
    }
  }

  const logins: readonly (readonly [name: string, sasl: () => NonNullable<KafkaConfig['sasl']>])[] = [
    ['PLAIN', () => ({ mechanism: 'plain', ...sasl().users.plain })],
    ['SCRAM-SHA-256', () => ({ mechanism: 'scram-sha-256', ...sasl().users.scram })],
    ['SCRAM-SHA-512', () => ({ mechanism: 'scram-sha-512', ...sasl().users.scram })],
    [
      'OAUTHBEARER',
      () => ({
        mechanism: 'oauthbearer',
        oauthBearerProvider: async () => ({ value: sasl().oauthToken() }),
      }),
    ],
  ];
  for (const [name, login] of logins)
    test(`a client logs in by ${name} over TLS`, async () => {
      const secured = client(sasl().saslBrokers, { ssl: { ca: [sasl().ca] }, sasl: login() });
      await createTopic(secured, `by-${name}`);
      await produce(secured, `by-${name}`, 'secret');
      assert.deepEqual(await consume(client(broker().brokers), `by-${name}`, 1), ['secret']);
    });

  test('a wrong password is refused', async () => {
    for (const mechanism of ['plain', 'scram-sha-256'] as const) {
      const user = sasl().users[mechanism === 'plain' ? 'plain' : 'scram'];
      const login = { mechanism, ...user, password: 'wrong' } as NonNullable<KafkaConfig['sasl']>;
      await assert.rejects(
        topicsOf(sasl().saslBrokers, { ssl: { ca: [sasl().ca] }, sasl: login }),
        /[Aa]uthentication/,
      );
    }
  });

  test('a client that does not trust the certificate does not connect', async () => {
    await assert.rejects(
      topicsOf(sasl().saslBrokers, { ssl: true, sasl: { mechanism: 'plain', ...sasl().users.plain } }),
      /certificate/,
    );
  });

  test('mutual TLS takes a client with a certificate and refuses one without', async () => {
    const ssl = { ca: [sasl().ca], ...sasl().clientCertificate };
    assert.ok(Array.isArray(await topicsOf(sasl().sslBrokers, { ssl })));
    await assert.rejects(topicsOf(sasl().sslBrokers, { ssl: { ca: [sasl().ca] } }));
  });
});
