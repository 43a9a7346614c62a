/**
 * Partita inside an HTTP server, in one process: POST appends to the log, GET asks the state, DELETE is a command.
 * Threads by configuration (WORKERS); SIGTERM ends requests, commits, and releases everything before the exit.
 */
import { once } from 'node:events';
import { createServer, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { embeddedLog, isPartitaError, processorAt, StateManager } from 'partita';
import type pages from './processor.js';

const dir = process.env['STATE_DIR'] ?? '.state/http-server';
const log = await embeddedLog({ dir: join(dir, 'log') });
if ((await log.describeTopic('visits')) === undefined)
  await log.createTopic({ topic: 'visits', partitions: 8 });

const manager = await StateManager.start({
  group: 'http-server',
  log,
  stateDir: join(dir, 'state'),
  workers: Number(process.env['WORKERS'] ?? 2),
  streams: { pages: processorAt<typeof pages>(new URL('./processor.js', import.meta.url)) },
});
const { pages: router } = manager.streams;

/** Status and body of the answer. */
async function answer(request: IncomingMessage, signal: AbortSignal): Promise<readonly [number, unknown]> {
  const page = new URL(request.url ?? '/', 'http://localhost').pathname;
  const method = request.method ?? '';
  switch (method) {
    case 'POST':
      return [202, await router.send('visits', { key: page, value: '' })];
    case 'GET': {
      if (page === '/') {
        const counts = await router.queryAll('count', { signal, timeoutMs: 5_000 });
        return [200, { pages: [...counts.values()].reduce((a, b) => a + b, 0) }];
      }
      const visits = await router.query('page', { key: page, signal, timeoutMs: 5_000 });
      return visits === undefined ? [404, { page }] : [200, { page, ...visits }];
    }
    case 'DELETE':
      return [(await router.command('forget', { key: page, signal })) ? 200 : 404, { page }];
    default:
      return [405, { method }];
  }
}

const server = createServer((request, response) => {
  const gone = new AbortController();
  response.once('close', () => {
    gone.abort();
  });
  const reply = (status: number, body: unknown) => {
    response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body));
  };
  answer(request, gone.signal).then(
    ([status, body]) => {
      reply(status, body);
    },
    (error: unknown) => {
      // Recovering, moved, full: the same request may succeed later.
      if (isPartitaError(error) && error.retryable) reply(503, { code: error.code });
      else reply(500, { error: String(error) });
    },
  );
});
server.listen(Number(process.env['PORT'] ?? 0), '127.0.0.1');
await once(server, 'listening');
console.log(`listening on http://127.0.0.1:${(server.address() as AddressInfo).port}`);

await once(process, 'SIGTERM');
const closed = once(server, 'close');
server.close();
server.closeIdleConnections();
await closed;
await manager.stop({ deadlineMs: 10_000 });
await log.close();
console.log('stopped');
