/**
 * What users hear when a manager can't start on Kafka: each misconfiguration is an error of its own code that names the
 * topic, broker or option, comes in bounded time, changes nothing on the brokers, and tells no secret.
 */
import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { test } from 'node:test';
import kafkajs from 'kafkajs';
import { kafka, type KafkaLogOptions } from '../../src/index.js';
import { systemClock } from '../../src/core/clock.js';
import { silentLogger } from '../../src/core/logger.js';
import { Cluster } from '../../src/log/kafka/cluster.js';
import { resolveKafkaOptions } from '../../src/log/kafka/kafka-options.js';
import { loadKafkajs } from '../../src/log/kafka/kafkajs-internals.js';
import { describeKafka } from '../support/describe-kafka.js';
import type { KafkaSasl } from '../support/kafka-broker.js';
import { atDesk, everything, RecordingLogger, refusal, until } from '../support/kafka-desk.js';
import { freePort } from '../support/kafka-layout.js';
import { otherCommitted } from '../support/other-client.js';
import { TcpProxy } from '../support/tcp-proxy.js';

const CONNECT_MS = 1_000;
/** What a refusal may take beyond the time it is given, on a machine that does other things too. */
const SLACK_MS = 3_000;
const soon = { timeout: 40_000 };

test('brokers that do not listen are named within the time for connecting', soon, async () => {
  const brokers = [`127.0.0.1:${await freePort()}`, `127.0.0.1:${await freePort()}`];
  await atDesk('nobody', brokers, async (desk) => {
    const { tookMs } = await refusal(
      desk.startTotals({ log: { brokers, connectTimeoutMs: CONNECT_MS } }),
      'LOG_UNAVAILABLE',
      ...brokers,
      'ECONNREFUSED',
    );
    assert.ok(tookMs < CONNECT_MS + SLACK_MS, `${tookMs} ms`);
  });
});

test(
  'a host that accepts connections and never answers is named within the time for connecting',
  soon,
  async () => {
    const proxy = await TcpProxy.listen(await freePort());
    try {
      await atDesk('silent', [proxy.address], async (desk) => {
        for (const extra of [
          {},
          { ssl: true },
          { sasl: { mechanism: 'plain', username: 'u', password: 'p' } },
        ] as const) {
          const { tookMs } = await refusal(
            desk.startTotals({ log: { brokers: desk.brokers, connectTimeoutMs: CONNECT_MS, ...extra } }),
            'LOG_UNAVAILABLE',
            proxy.address,
          );
          assert.ok(tookMs < CONNECT_MS + SLACK_MS, `${tookMs} ms`);
        }
      });
    } finally {
      await proxy.close();
    }
  },
);

describeKafka('secured brokers refuse', { listeners: 'SASL_SSL' }, (broker) => {
  const sasl = (): KafkaSasl => {
    const found = broker().sasl;
    assert.ok(found);
    return found;
  };
  const SECRET = 'do-not-tell-anyone';

  const wrong: readonly (readonly [name: string, log: () => Partial<KafkaLogOptions>])[] = [
    ['PLAIN', () => ({ sasl: { mechanism: 'plain', username: 'penelope', password: SECRET } })],
    ['SCRAM-SHA-256', () => ({ sasl: { mechanism: 'scram-sha-256', username: 'stefan', password: SECRET } })],
    ['SCRAM-SHA-512', () => ({ sasl: { mechanism: 'scram-sha-512', username: 'nobody', password: SECRET } })],
    [
      'OAUTHBEARER',
      () => ({ sasl: { mechanism: 'oauthbearer', oauthBearerProvider: async () => ({ value: SECRET }) } }),
    ],
  ];
  for (const [name, log] of wrong)
    test(
      `wrong credentials of ${name} are refused at once, and appear in no error and no log`,
      soon,
      async () => {
        await atDesk('wrong', sasl().saslBrokers, async (desk) => {
          const logger = new RecordingLogger();
          const { error, tookMs } = await refusal(
            desk.startTotals({
              logger,
              log: { brokers: desk.brokers, ssl: { ca: [sasl().ca] }, connectTimeoutMs: 20_000, ...log() },
            }),
            'LOG_AUTHENTICATION_FAILED',
            sasl().saslBrokers[0]!,
          );
          assert.ok(tookMs < 10_000, `${tookMs} ms`);
          const said = [everything(error), ...logger.lines, everything(error.details)].join('\n');
          for (const secret of [
            SECRET,
            Buffer.from(SECRET).toString('base64'),
            Buffer.from(SECRET).toString('hex'),
          ])
            assert.ok(!said.includes(secret), said);
          assert.ok(!said.includes('BEGIN CERTIFICATE'), said);
        });
      },
    );

  test(
    'a mechanism that the broker does not offer is an authentication failure that names it',
    soon,
    async () => {
      await atDesk('mechanism', sasl().saslBrokers, async (desk) => {
        const { tookMs } = await refusal(
          desk.startTotals({
            log: {
              brokers: desk.brokers,
              ssl: { ca: [sasl().ca] },
              connectTimeoutMs: 20_000,
              sasl: {
                mechanism: 'aws',
                authorizationIdentity: 'a',
                accessKeyId: 'b',
                secretAccessKey: SECRET,
              },
            },
          }),
          'LOG_AUTHENTICATION_FAILED',
          'AWS',
        );
        assert.ok(tookMs < 10_000, `${tookMs} ms`);
      });
    },
  );

  test(
    'a certificate that nobody vouches for, or of another host, is an authentication failure',
    soon,
    async () => {
      const user = { mechanism: 'plain', ...sasl().users.plain } as const;
      const address = sasl().saslBrokers[0]!;
      for (const ssl of [true, { ca: [sasl().ca], servername: 'elsewhere.example' }])
        await atDesk('untrusted', [address], async (desk) => {
          const { tookMs } = await refusal(
            desk.startTotals({ log: { brokers: [address], ssl, sasl: user, connectTimeoutMs: 20_000 } }),
            'LOG_AUTHENTICATION_FAILED',
            /certificate|altnames/i,
            address,
          );
          assert.ok(tookMs < 10_000, `${tookMs} ms`);
        });
    },
  );

  test(
    'mutual TLS without a certificate of the client is refused, with the word certificate',
    soon,
    async () => {
      const address = sasl().sslBrokers[0]!;
      await atDesk('uncertified', [address], async (desk) => {
        await refusal(
          desk.startTotals({
            log: { brokers: [address], ssl: { ca: [sasl().ca] }, connectTimeoutMs: CONNECT_MS },
          }),
          'LOG_AUTHENTICATION_FAILED',
          /certificate/i,
        );
      });
    },
  );

  test(
    'TLS spoken to a plain port, and plain to a TLS port, are told within the time for connecting',
    soon,
    async () => {
      const plain = broker().brokers[0]!;
      const secured = sasl().saslBrokers[0]!;
      for (const [address, extra] of [
        [plain, { ssl: true }],
        [secured, {}],
        [secured, { sasl: { mechanism: 'plain', ...sasl().users.plain } }],
      ] as const)
        await atDesk('crossed', [address], async (desk) => {
          const { tookMs, error } = await refusal(
            desk.startTotals({ log: { brokers: [address], connectTimeoutMs: CONNECT_MS, ...extra } }),
            'LOG_UNAVAILABLE',
            address,
            'ssl',
          );
          assert.ok(tookMs < CONNECT_MS + SLACK_MS, `${tookMs} ms: ${error.message}`);
        });
    },
  );

  test('SASL at a listener without it is an authentication failure', soon, async () => {
    const plain = broker().brokers[0]!;
    await atDesk('needless', [plain], async (desk) => {
      await refusal(
        desk.startTotals({
          log: {
            brokers: [plain],
            connectTimeoutMs: CONNECT_MS,
            sasl: { mechanism: 'plain', ...sasl().users.plain },
          },
        }),
        'LOG_AUTHENTICATION_FAILED',
        plain,
      );
    });
  });
});

describeKafka(
  'topics and groups that do not fit',
  {
    otherClient: true,
    configs: { 'group.max.session.timeout.ms': '40000', 'group.min.session.timeout.ms': '500' },
  },
  (broker) => {
    const brokers = (): readonly string[] => broker().brokers;

    test(
      'a missing input topic is named, and nothing is created unless that is asked for',
      soon,
      async () => {
        await atDesk('no-input', brokers(), async (desk) => {
          await refusal(desk.startTotals(), 'TOPIC_MISSING', desk.amounts, 'createTopics');
          const topics = await (await desk.admin()).listTopics();
          assert.deepEqual(
            topics.filter((topic) => topic.includes(desk.of)),
            [],
          );
          assert.deepEqual(readdirSync(desk.stateDir), []);
          const manager = await desk.startTotals({ createTopics: { partitions: 2 } });
          await manager.ready();
          const made = await (await desk.admin()).fetchTopicMetadata({ topics: [desk.amounts] });
          assert.equal(made.topics[0]?.partitions.length, 2);
        });
      },
    );

    test('a missing output topic is named, and created where createTopics says so', soon, async () => {
      await atDesk('no-output', brokers(), async (desk) => {
        await desk.createTopic(desk.amounts, 2);
        await refusal(desk.startTotals(), 'TOPIC_MISSING', desk.totals, 'createTopics');
        const admin = await desk.admin();
        assert.ok(!(await admin.listTopics()).includes(desk.changelog));
        const manager = await desk.startTotals({ createTopics: { partitions: 3 } });
        await manager.ready();
        const { topics } = await admin.fetchTopicMetadata({ topics: [desk.totals] });
        assert.equal(topics[0]?.partitions.length, 3);
      });
    });

    test(
      'createTopics that the brokers can not fulfil names the topic and what they said',
      soon,
      async () => {
        await atDesk('too-replicated', brokers(), async (desk) => {
          await desk.createTopic(desk.amounts);
          await refusal(
            desk.startTotals({ createTopics: { partitions: 1, replicationFactor: 3 } }),
            'TOPIC_INVALID',
            desk.totals,
            /replication/i,
          );
        });
      },
    );

    test('inputs with unequal partition counts are refused with the counts', soon, async () => {
      await atDesk('unequal', brokers(), async (desk) => {
        await desk.createTopic('unequal-left', 2);
        await desk.createTopic('unequal-right', 3);
        await refusal(desk.startPairs(), 'PARTITIONS_UNEQUAL', 'unequal-left: 2', 'unequal-right: 3');
      });
    });

    for (const [name, partitions, configs, mention] of [
      ['deletes', 2, { 'cleanup.policy': 'delete' }, 'cleanup.policy'],
      ['deletes-too', 2, { 'cleanup.policy': 'compact,delete' }, 'cleanup.policy'],
      ['fewer', 1, { 'cleanup.policy': 'compact' }, 'partitions'],
    ] as const)
      test(
        `a changelog that would lose state (${name}) is refused and left as it is, with the group's offsets`,
        soon,
        async () => {
          await atDesk(`changelog-${name}`, brokers(), async (desk) => {
            await desk.createTopics(2);
            await desk.createTopic(desk.changelog, partitions, configs);
            const admin = await desk.admin();
            await admin.setOffsets({
              groupId: desk.of,
              topic: desk.amounts,
              partitions: [{ partition: 0, offset: '0' }],
            });
            const before = await otherCommitted(brokers(), desk.amounts, desk.of);
            await refusal(desk.startTotals(), 'CHANGELOG_INVALID', desk.changelog, mention);
            assert.deepEqual(await otherCommitted(brokers(), desk.amounts, desk.of), before);
            const { resources } = await admin.describeConfigs({
              includeSynonyms: false,
              resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: desk.changelog }],
            });
            const policy = resources[0]?.configEntries.find(
              ({ configName }) => configName === 'cleanup.policy',
            );
            assert.equal(policy?.configValue, configs['cleanup.policy']);
            assert.deepEqual(readdirSync(desk.stateDir), []);
          });
        },
      );

    test('a group that stock consumers use is refused, and they are not disturbed', soon, async () => {
      await atDesk('taken', brokers(), async (desk) => {
        await desk.createTopics();
        const consumer = desk.kafka.consumer({
          groupId: desk.of,
          sessionTimeout: 3_000,
          heartbeatInterval: 300,
        });
        let joins = 0;
        const read: string[] = [];
        consumer.on('consumer.group_join', () => joins++);
        await consumer.connect();
        await consumer.subscribe({ topic: desk.amounts, fromBeginning: true });
        await consumer.run({ eachMessage: async ({ message }) => void read.push(String(message.value)) });
        await until('the consumer to join', () => joins === 1);
        try {
          const { tookMs } = await refusal(desk.startTotals(), 'GROUP_INVALID', desk.of, 'group of its own');
          assert.ok(tookMs < 10_000, `${tookMs} ms`);
          await desk.produce([{ key: 'a', value: 5 }]);
          await until('the consumer to read on', () => read.length === 1);
          assert.equal(joins, 1);
        } finally {
          await consumer.disconnect();
        }
      });
    });

    test('a group of another protocol type is refused, and its member is not disturbed', soon, async () => {
      await atDesk('connected', brokers(), async (desk) => {
        await desk.createTopics();
        const cluster = new Cluster({
          kafkajs: await loadKafkajs(),
          options: resolveKafkaOptions({ brokers: brokers() }),
          clientId: 'connect-worker',
          clock: systemClock,
          logger: silentLogger,
        });
        try {
          await cluster.connect();
          const connection = await cluster.coordinator('group', desk.of, 'group/1');
          const request = {
            groupId: desk.of,
            sessionTimeout: 20_000,
            rebalanceTimeout: 20_000,
            memberId: '',
            protocolType: 'connect',
            groupProtocols: [{ name: 'default', metadata: Buffer.alloc(4) }],
          };
          const joined = await connection.requests.joinGroup(request).catch(async (error: unknown) => {
            const { memberId } = error as { memberId?: string };
            assert.ok(memberId, String(error));
            return connection.requests.joinGroup({ ...request, memberId });
          });
          const { memberId, generationId } = joined;
          await connection.requests.syncGroup({
            groupId: desk.of,
            generationId,
            memberId,
            groupAssignment: [],
          });
          await refusal(desk.startTotals(), 'GROUP_INVALID', desk.of);
          await connection.requests.heartbeat({
            groupId: desk.of,
            groupGenerationId: generationId,
            memberId,
          });
        } finally {
          await cluster.close();
        }
      });
    });

    test('a session timeout outside the bounds of the broker names the option', soon, async () => {
      for (const sessionTimeoutMs of [100, 50_000])
        await atDesk('session', brokers(), async (desk) => {
          await desk.createTopics().catch(() => undefined);
          const { tookMs } = await refusal(
            desk.startTotals({ sessionTimeoutMs, rebalanceTimeoutMs: 60_000 }),
            'INVALID_OPTIONS',
            'sessionTimeoutMs',
            'group.max.session.timeout.ms',
          );
          assert.ok(tookMs < 10_000, `${tookMs} ms`);
        });
    });

    test('a transaction timeout above the bound of the broker names the option', soon, async () => {
      await atDesk('transaction', brokers(), async (desk) => {
        await desk.createTopics();
        const manager = await desk.startTotals({ transactionTimeoutMs: 3_600_000 });
        await refusal(
          manager.ready(),
          'INVALID_OPTIONS',
          'transactionTimeoutMs',
          'transaction.max.timeout.ms',
        );
      });
    });

    test('names that are too long are refused before anything is created', soon, async () => {
      await atDesk('long', brokers(), async (desk) => {
        await refusal(desk.startTotals({ group: 'g'.repeat(81) }), 'INVALID_NAME', 'g'.repeat(81));
        await refusal(desk.startTotals({ group: 'a/b' }), 'INVALID_NAME', 'a/b');
      });
      await atDesk('t'.repeat(250), brokers(), async (desk) => {
        await refusal(desk.startTotals({ group: 'long' }), 'TOPIC_INVALID', desk.amounts);
      });
    });
  },
);

describeKafka('a broker before 3.6', { version: '3.5.2' }, (broker) => {
  test('it is refused with the reason', soon, async () => {
    await atDesk('old', broker().brokers, async (desk) => {
      const { tookMs } = await refusal(
        desk.startTotals(),
        'LOG_UNSUPPORTED',
        'older than Kafka 3.6',
        broker().brokers[0]!,
      );
      assert.ok(tookMs < 5_000, `${tookMs} ms`);
    });
  });
});

test('an option of kafka() with a wrong value is named, without the value where that is a secret', () => {
  for (const [options, path] of [
    [{ brokers: [] }, 'brokers'],
    [{ brokers: ['no port'] }, 'brokers'],
    [{ brokers: ['a:1'], sasl: { mechanism: 'plain', username: 'u', password: 7 } }, 'sasl.password'],
    [{ brokers: ['a:1'], connectTimeoutMs: -1 }, 'connectTimeoutMs'],
  ] as const)
    assert.throws(
      () => kafka(options as unknown as KafkaLogOptions),
      (error: Error) => error.message.includes(path) && !error.message.includes('7'),
    );
});
