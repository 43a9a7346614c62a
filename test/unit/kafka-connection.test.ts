/** A connection to a broker, against a server that accepts it and keeps silent. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { test } from 'node:test';
import { loadKafkajs, type KafkajsLogger } from '../../src/log/kafka/kafkajs-internals.js';

const nothing = (): void => undefined;
const quiet: KafkajsLogger = {
  namespace: () => quiet,
  ...{ debug: nothing, info: nothing, warn: nothing, error: nothing },
};

test('a connection is not there before the broker has told its versions, so nobody asks it too early', async () => {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const connection = (await loadKafkajs()).connection({
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    clientId: 'test',
    ssl: undefined,
    sasl: undefined,
    connectionTimeoutMs: 2_000,
    authenticationTimeoutMs: 2_000,
    reusesAnswers: false,
    requestTimeoutMs: 5_000,
    logger: quiet,
  });
  const connecting = connection.connect();
  const rejected = assert.rejects(connecting);
  const [socket] = (await once(server, 'connection')) as [Socket];
  try {
    // It has sent its question for the versions, so on its side the socket stands.
    await once(socket, 'data');
    assert.equal(connection.isConnected, false);
  } finally {
    await connection.close();
    await rejected;
    socket.destroy();
    server.close();
  }
});
