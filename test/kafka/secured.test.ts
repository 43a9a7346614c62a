/**
 * Proves the secured broker that Kafka tests stand on: each way to log in works, and wrong ones are refused. It never
 * tests Partita itself. records.test.ts comes next.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { KafkaConfig } from 'kafkajs';
import { describeKafka } from '../support/describe-kafka.js';
import type { KafkaSasl } from '../support/kafka-broker.js';
import { client, consume, createTopic, produce } from '../support/plain-client.js';

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
