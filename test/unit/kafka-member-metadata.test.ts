/** What members of different versions of Partita, and Kafka's own tools, read of each other. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';

import {
  decodeAssignment,
  decodeSubscription,
  encodeAssignment,
  encodeSubscription,
} from '../../src/log/kafka/member-metadata.js';

/** kafkajs reads and writes the same protocol: an oracle that nobody here wrote. */
const { MemberMetadata, MemberAssignment } = createRequire(import.meta.url)(
  'kafkajs/src/consumer/assignerProtocol',
) as {
  MemberMetadata: {
    encode(of: { version: number; topics: readonly string[]; userData: Buffer }): Buffer;
    decode(bytes: Buffer): { version: number; topics: string[]; userData: Buffer };
  };
  MemberAssignment: { decode(bytes: Buffer): { assignment: Record<string, number[]> } };
};

const said = {
  topics: ['orders', 'payments'],
  streams: { shop: ['orders', 'payments'] },
  owned: [
    { topic: 'orders', partition: 0 },
    { topic: 'orders', partition: 2 },
    { topic: 'payments', partition: 0 },
  ],
  generation: 7,
  address: 'ä.example:80',
};

describe('what members tell each other', () => {
  test('a subscription comes back as it was, and kafkajs reads its topics', () => {
    const bytes = encodeSubscription(said);
    assert.deepEqual(decodeSubscription(bytes), said);
    assert.deepEqual(MemberMetadata.decode(bytes).topics, said.topics);
    const silent = { ...said, owned: [], generation: -1, address: undefined };
    assert.deepEqual(decodeSubscription(encodeSubscription(silent)), silent);
  });

  test('an assignment comes back with the addresses of owners, and kafkajs reads its partitions', () => {
    const bytes = encodeAssignment(said.owned, { 'a:1': said.owned.slice(0, 2), 'b:2': said.owned.slice(2) });
    const { partitions, addresses } = decodeAssignment(bytes);
    assert.deepEqual(partitions, said.owned);
    assert.deepEqual(
      [...addresses],
      [
        ['orders/0', 'a:1'],
        ['orders/2', 'a:1'],
        ['payments/0', 'b:2'],
      ],
    );
    assert.deepEqual(MemberAssignment.decode(bytes).assignment, { orders: [0, 2], payments: [0] });
  });

  test('a later version adds what an earlier one passes over', () => {
    const userData = Buffer.from(
      JSON.stringify({
        v: 2,
        streams: { shop: ['orders'], odd: 5 },
        owned: { orders: [1, 'x', null], later: { deep: [] } },
        generation: 3,
        address: ['not', 'a', 'text'],
        load: { cpu: 0.5 },
      }),
    );
    assert.deepEqual(
      decodeSubscription(MemberMetadata.encode({ version: 3, topics: ['orders'], userData })),
      {
        topics: ['orders'],
        streams: { shop: ['orders'], odd: [] },
        owned: [{ topic: 'orders', partition: 1 }],
        generation: 3,
        address: undefined,
      },
    );
  });

  test('what cannot be read counts as not said', () => {
    for (const userData of ['', 'not json', '5', 'null', '[1]', '{"owned":7,"streams":null}']) {
      const bytes = MemberMetadata.encode({ version: 0, topics: ['t'], userData: Buffer.from(userData) });
      const { topics, ...rest } = decodeSubscription(bytes);
      assert.deepEqual(topics, ['t']);
      assert.deepEqual(rest, { streams: {}, owned: [], generation: -1, address: undefined });
    }
    assert.deepEqual(decodeAssignment(Buffer.alloc(0)), { partitions: [], addresses: new Map() });
  });
});
