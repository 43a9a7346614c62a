/**
 * Proves the cluster that Kafka tests stand on: leaders move when a node is killed, and nothing is lost. It never tests
 * Partita itself. secured.test.ts comes next.
 */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { describeKafka } from '../support/describe-kafka.js';
import { client, consume, createTopic, produce } from '../support/plain-client.js';

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
