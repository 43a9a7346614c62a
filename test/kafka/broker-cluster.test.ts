/**
 * Proves the cluster that Kafka tests stand on: leaders move when a node is killed, and nothing is lost. It never tests
 * Partita itself. secured.test.ts comes next.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeKafka } from '../support/describe-kafka.js';
import { otherRead } from '../support/other-client.js';
import { client, createTopic, produce } from '../support/plain-client.js';

/** kafkajs gives up early where a node is gone, unless it is told otherwise; it reads by a group, whose coordinator may be there. */
const PATIENT = { retry: { initialRetryTime: 100, maxRetryTime: 1_000, retries: 40 } };

describeKafka('a cluster of three', { nodes: 3, otherClient: true }, (broker) => {
  test('it loses no record and no leader for long when a node is killed, and takes the node back', async () => {
    const kafka = client(broker().brokers, PATIENT);
    const values = async () => (await otherRead(broker().brokers, 'moves')).map(({ value }) => String(value));
    await createTopic(kafka, 'moves');
    await produce(kafka, 'moves', 'before');
    const leader = await broker().leaderOf('moves', 0);
    assert.ok(broker().nodes.includes(leader));
    await broker().kill(leader);
    await produce(kafka, 'moves', 'after');
    const next = await broker().leaderOf('moves', 0);
    assert.notEqual(next, leader);
    assert.ok(broker().nodes.includes(next));
    assert.deepEqual(await values(), ['before', 'after']);
    await broker().start(leader);
    await broker().kill(next);
    await produce(kafka, 'moves', 'again');
    assert.deepEqual(await values(), ['before', 'after', 'again']);
  });
});
