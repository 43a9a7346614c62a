/**
 * Ways to reach secured brokers: every mechanism of SASL that is offered carries a whole manager, tokens are renewed,
 * certificates work on both sides; and the ACLs that Partita needs are these and no others.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import kafkajs, { type AclEntry, type AclOperationTypes, type AclResourceTypes, type Admin } from 'kafkajs';
import type { KafkaLogOptions, ManagerOptions } from '../../src/index.js';
import { describeKafka } from '../support/describe-kafka.js';
import type { KafkaBroker, KafkaSasl } from '../support/kafka-broker.js';
import { atDesk, refusal, until, type KafkaDesk } from '../support/kafka-desk.js';

const soon = { timeout: 60_000 };
/** kafkajs renews a login ten seconds before its session ends. */
const REAUTH_MS = 12_000;

function saslOf(broker: KafkaBroker): KafkaSasl {
  assert.ok(broker.sasl);
  return broker.sasl;
}

/** A manager with these options of connections processes and commits. */
async function processes(of: string, broker: KafkaBroker, log: KafkaLogOptions): Promise<void> {
  await atDesk(of, broker.brokers, async (desk) => {
    await desk.createTopics(2);
    await desk.produce([
      { key: 'a', value: 1 },
      { key: 'a', value: 2 },
    ]);
    const manager = await desk.startTotals({ log });
    await manager.ready();
    assert.deepEqual(await desk.totalsByKey(2), new Map([['a', [1, 3]]]));
    await manager.stop();
    const offsets = await (await desk.admin()).fetchOffsets({ groupId: desk.of, topics: [desk.amounts] });
    assert.equal(offsets[0]?.partitions.filter(({ offset }) => offset === '2').length, 1);
  });
}

describeKafka(
  'secured brokers accept',
  {
    listeners: 'SASL_SSL',
    configs: { 'listener.name.sasl_ssl.oauthbearer.connections.max.reauth.ms': String(REAUTH_MS) },
  },
  (broker) => {
    const sasl = (): KafkaSasl => saslOf(broker());
    const ssl = (): { ca: string[] } => ({ ca: [sasl().ca] });

    const logins: readonly (readonly [name: string, login: () => NonNullable<KafkaLogOptions['sasl']>])[] = [
      ['PLAIN', () => ({ mechanism: 'plain', ...sasl().users.plain })],
      ['SCRAM-SHA-256', () => ({ mechanism: 'scram-sha-256', ...sasl().users.scram })],
      ['SCRAM-SHA-512', () => ({ mechanism: 'scram-sha-512', ...sasl().users.scram })],
    ];
    for (const [name, login] of logins)
      test(`a manager that logs in by ${name} over TLS processes and commits`, soon, () =>
        processes(`by-${name.toLowerCase()}`, broker(), {
          brokers: sasl().saslBrokers,
          ssl: ssl(),
          sasl: login(),
        }),
      );

    test('a token function that fails once is asked again', soon, async () => {
      let calls = 0;
      await processes('by-token', broker(), {
        brokers: sasl().saslBrokers,
        ssl: ssl(),
        connectTimeoutMs: 5_000,
        sasl: {
          mechanism: 'oauthbearer',
          oauthBearerProvider: async () => {
            if (++calls === 1) throw new Error('the token service sleeps');
            return { value: sasl().oauthToken() };
          },
        },
      });
      assert.ok(calls > 1);
    });

    test('a token function that keeps failing is named, with what it threw as the cause', soon, async () => {
      await atDesk('no-token', sasl().saslBrokers, async (desk) => {
        const thrown = new Error('the token service sleeps');
        const { error } = await refusal(
          desk.startTotals({
            log: {
              brokers: desk.brokers,
              ssl: ssl(),
              connectTimeoutMs: 500,
              sasl: { mechanism: 'oauthbearer', oauthBearerProvider: () => Promise.reject(thrown) },
            },
          }),
          'LOG_UNAVAILABLE',
          'oauthBearerProvider',
          thrown.message,
        );
        assert.equal((error.cause as Error).cause, thrown);
      });
    });

    test('logins that the broker lets expire are renewed while a manager processes', soon, async () => {
      await atDesk('renewed', broker().brokers, async (desk) => {
        await desk.createTopics();
        let tokens = 0;
        const manager = await desk.startTotals({
          log: {
            brokers: sasl().saslBrokers,
            ssl: ssl(),
            sasl: {
              mechanism: 'oauthbearer',
              oauthBearerProvider: async () => {
                tokens++;
                return { value: sasl().oauthToken() };
              },
            },
          },
        });
        let restarts = 0;
        manager.on('restarting', () => restarts++);
        manager.on('lost', () => restarts++);
        await manager.ready();
        const atFirst = tokens;
        const sums: number[] = [];
        for (let i = 1; i <= 18; i++) {
          await desk.produce([{ key: 'a', value: 1 }]);
          sums.push(i);
          await sleep(750);
        }
        assert.ok(tokens >= 3 * atFirst, `${tokens} tokens, ${atFirst} at first`);
        assert.deepEqual(await desk.totalsByKey(sums.length), new Map([['a', sums]]));
        assert.equal(restarts, 0);
      });
    });

    test('mutual TLS with a certificate of the client carries a manager', soon, () =>
      processes('by-certificate', broker(), {
        brokers: sasl().sslBrokers,
        ssl: { ...ssl(), ...sasl().clientCertificate },
      }),
    );

    test('brokers may be a function, asked when the manager connects', soon, async () => {
      let calls = 0;
      await processes('by-function', broker(), {
        brokers: async () => {
          calls++;
          return broker().brokers;
        },
      });
      assert.ok(calls >= 1);
    });
  },
);

interface Grant {
  readonly name: string;
  readonly type: AclResourceTypes;
  readonly resource: (desk: KafkaDesk) => string;
  readonly operation: AclOperationTypes;
  /** What the error has to name when it is taken away. */
  readonly mention: (desk: KafkaDesk) => string;
}

const { TOPIC, GROUP, TRANSACTIONAL_ID } = kafkajs.AclResourceTypes;
const { READ, WRITE, DESCRIBE_CONFIGS, CREATE } = kafkajs.AclOperationTypes;
const { LITERAL, PREFIXED } = kafkajs.ResourcePatternTypes;

function topicGrant(
  what: string,
  of: (desk: KafkaDesk) => string,
  operation: AclOperationTypes,
  word: string,
): Grant {
  return { name: `${word} ${what}`, type: TOPIC, resource: of, operation, mention: of };
}

const amounts = (desk: KafkaDesk): string => desk.amounts;
const totals = (desk: KafkaDesk): string => desk.totals;
const changelog = (desk: KafkaDesk): string => desk.changelog;

/** What docs/kafka.md lists, for a changelog that exists. */
const GRANTS: readonly Grant[] = [
  topicGrant('the input', amounts, READ, 'Read'),
  topicGrant('the input', amounts, DESCRIBE_CONFIGS, 'DescribeConfigs'),
  topicGrant('the output', totals, WRITE, 'Write'),
  topicGrant('the output', totals, DESCRIBE_CONFIGS, 'DescribeConfigs'),
  topicGrant('the changelog', changelog, READ, 'Read'),
  topicGrant('the changelog', changelog, WRITE, 'Write'),
  topicGrant('the changelog', changelog, DESCRIBE_CONFIGS, 'DescribeConfigs'),
  {
    name: 'Read the group',
    type: GROUP,
    resource: (desk) => desk.of,
    operation: READ,
    mention: (desk) => desk.of,
  },
  {
    name: 'Write the transactional ids',
    type: TRANSACTIONAL_ID,
    resource: (desk) => `${desk.of}--`,
    operation: WRITE,
    mention: (desk) => `${desk.of}--sums--0`,
  },
];
const CREATE_CHANGELOG = topicGrant('the changelog', changelog, CREATE, 'Create');

describeKafka(
  'restricted users',
  {
    listeners: 'SASL_SSL',
    configs: {
      'authorizer.class.name': 'org.apache.kafka.metadata.authorizer.StandardAuthorizer',
      'allow.everyone.if.no.acl.found': 'false',
      'super.users': 'User:ANONYMOUS',
    },
  },
  (broker) => {
    const user = 'User:penelope';

    function entry(desk: KafkaDesk, { type, resource, operation }: Grant): AclEntry {
      return {
        resourceType: type,
        resourceName: resource(desk),
        resourcePatternType: type === TRANSACTIONAL_ID ? PREFIXED : LITERAL,
        principal: user,
        host: '*',
        operation,
        permissionType: kafkajs.AclPermissionTypes.ALLOW,
      };
    }

    async function grant(desk: KafkaDesk, grants: readonly Grant[]): Promise<void> {
      await (await desk.admin()).createAcls({ acl: grants.map((one) => entry(desk, one)) });
    }

    async function revoke(admin: Admin, desk: KafkaDesk, one: Grant): Promise<void> {
      await admin.deleteAcls({ filters: [entry(desk, one)] });
    }

    /** As the restricted user. */
    function settings(extra: Partial<ManagerOptions> = {}): Parameters<KafkaDesk['startTotals']>[0] {
      const sasl = saslOf(broker());
      return {
        ...extra,
        log: {
          brokers: sasl.saslBrokers,
          ssl: { ca: [sasl.ca] },
          sasl: { mechanism: 'plain', ...sasl.users.plain },
        },
      } as Parameters<KafkaDesk['startTotals']>[0];
    }

    async function prepare(desk: KafkaDesk): Promise<void> {
      await desk.createTopics();
      await desk.produce([{ key: 'a', value: 1 }]);
    }

    for (const guarantee of ['exactly-once', 'at-least-once'] as const)
      test(`a user with exactly the documented ACLs runs a manager, ${guarantee}`, soon, async () => {
        await atDesk(`acl-${guarantee}`, broker().brokers, async (desk) => {
          await prepare(desk);
          await grant(desk, [...GRANTS, CREATE_CHANGELOG]);
          const manager = await desk.startTotals(settings({ guarantee }));
          await manager.ready();
          assert.deepEqual(await desk.totalsByKey(1), new Map([['a', [1]]]));
          await manager.stop();
          // Recovery, too, and without the right to create what exists.
          await revoke(await desk.admin(), desk, CREATE_CHANGELOG);
          await desk.produce([{ key: 'a', value: 1 }]);
          const again = await desk.startTotals(settings({ guarantee }));
          await again.ready();
          assert.deepEqual(await desk.totalsByKey(2), new Map([['a', [1, 2]]]));
        });
      });

    test('without Create the changelog is named that should have been made', soon, async () => {
      await atDesk('acl-create', broker().brokers, async (desk) => {
        await prepare(desk);
        await grant(desk, GRANTS);
        await refusal(desk.startTotals(settings()), 'LOG_AUTHORIZATION_FAILED', desk.changelog, 'Create');
      });
    });

    test(
      'each ACL that is missing is LOG_AUTHORIZATION_FAILED naming topic, group or transactional id',
      { timeout: 120_000 },
      async (t) => {
        await atDesk('acl-each', broker().brokers, async (desk) => {
          await prepare(desk);
          const first = await desk.startTotals();
          await first.ready();
          await first.stop();
          const admin = await desk.admin();
          await grant(desk, GRANTS);
          for (const one of GRANTS)
            await t.test(`without ${one.name}`, async () => {
              await revoke(admin, desk, one);
              await desk.produce([{ key: 'a', value: 1 }]);
              const started = performance.now();
              await refusal(
                (async () => {
                  const manager = await desk.startTotals(settings());
                  const failed = new Promise<never>((_, reject) => {
                    manager.once('failed', ({ error }) => {
                      reject(error instanceof Error ? error : new Error(String(error)));
                    });
                  });
                  await Promise.all([manager.ready(), Promise.race([failed, sleep(15_000)])]);
                })(),
                'LOG_AUTHORIZATION_FAILED',
                one.mention(desk),
              );
              t.diagnostic(`${one.name}: ${Math.round(performance.now() - started)} ms`);
              await desk.stopManagers();
              await grant(desk, [one]);
            });
        });
      },
    );

    test('the at-least-once guarantee needs the same ACLs for its outputs', soon, async () => {
      await atDesk('acl-outputs', broker().brokers, async (desk) => {
        await prepare(desk);
        await grant(desk, [
          ...GRANTS.filter(({ resource, operation }) => resource !== totals || operation !== WRITE),
          CREATE_CHANGELOG,
        ]);
        await refusal(
          (async () => {
            const manager = await desk.startTotals(settings({ guarantee: 'at-least-once' }));
            let why: unknown;
            manager.once('failed', ({ error }) => (why = error));
            await manager.ready();
            await until('the manager to fail', () => why !== undefined, 15_000);
            throw why;
          })(),
          'LOG_AUTHORIZATION_FAILED',
          desk.totals,
        );
      });
    });
  },
);
