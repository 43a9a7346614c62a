/** What `kafka()` refuses at the door, and that no secret is in what it says. */
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { describe, test } from 'node:test';

import { isPartitaError } from '../../src/core/errors.js';
import { kafka } from '../../src/log/kafka/kafka-log.js';
import { KAFKAJS_VERSION, loadKafkajs } from '../../src/log/kafka/kafkajs-internals.js';
import { parseAddress, resolveKafkaOptions } from '../../src/log/kafka/kafka-options.js';

const brokers = ['127.0.0.1:9092'];

function refused(path: string) {
  return (error: unknown): boolean => {
    assert.ok(isPartitaError(error, 'INVALID_OPTIONS'));
    assert.equal(error.details['path'], path);
    assert.doesNotMatch(error.message + JSON.stringify(error.details), /hunter2/);
    return true;
  };
}

describe('options of kafka()', () => {
  test('wrong ones are refused by their names', () => {
    assert.throws(() => kafka({ brokers: [] }), refused('brokers'));
    for (const address of ['localhost', 'localhost:', ':9092', 'a b:1', 'localhost:99999', 'http://a:1'])
      assert.throws(() => kafka({ brokers: [address] }), refused('brokers'), address);
    assert.throws(() => kafka({ brokers, connectTimeoutMs: -1 }), refused('connectTimeoutMs'));
    assert.throws(() => kafka({ brokers, fetch: { maxBytes: 0.5 } }), refused('fetch.maxBytes'));
  });

  test('SASL without what its mechanism needs is refused, and no secret is repeated', () => {
    const sasl = (given: object) => () => kafka({ brokers, sasl: given as never });
    assert.throws(sasl({ mechanism: 'kerberos', password: 'hunter2' }), refused('sasl.mechanism'));
    assert.throws(sasl({ mechanism: 'plain', password: 'hunter2' }), refused('sasl.username'));
    assert.throws(sasl({ mechanism: 'oauthbearer', token: 'hunter2' }), refused('sasl.oauthBearerProvider'));
    kafka({ brokers, sasl: { mechanism: 'scram-sha-512', username: 'u', password: 'hunter2' } });
  });

  test('addresses may be names, numbers, and IPv6 in brackets, and come from a function', async () => {
    assert.deepEqual(parseAddress('broker-1.example:9093'), { host: 'broker-1.example', port: 9093 });
    assert.deepEqual(parseAddress('[::1]:9092'), { host: '::1', port: 9092 });
    const resolved = resolveKafkaOptions({ brokers: () => Promise.resolve(['a:1', 'b:2']), ssl: true });
    assert.deepEqual(await resolved.brokers(), ['a:1', 'b:2']);
    assert.deepEqual(resolved.ssl, {});
    const wrong = resolveKafkaOptions({ brokers: () => ['nonsense'] });
    await assert.rejects(wrong.brokers(), refused('brokers'));
  });

  test('kafkajs is the very version whose internals are used', async () => {
    const { version } = createRequire(import.meta.url)('kafkajs/package.json') as { version: string };
    assert.equal(version, KAFKAJS_VERSION);
    const kafkajs = await loadKafkajs();
    assert.equal(kafkajs.errorType(0), 'NONE');
    assert.equal(kafkajs.errorType(3), 'UNKNOWN_TOPIC_OR_PARTITION');
    assert.equal(kafkajs.errorType(88), 'UNSTABLE_OFFSET_COMMIT');
    assert.equal(kafkajs.errorType(120), 'TRANSACTION_ABORTABLE');
    assert.equal(kafkajs.errorType(999), 'UNKNOWN_999');
  });
});
