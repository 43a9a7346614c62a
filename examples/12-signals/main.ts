/**
 * A program that runs until it is told to stop: SIGTERM and SIGINT commit, release everything and set the exit code; a
 * second signal ends it at once, which is safe too.
 */
import { once } from 'node:events';
import { join } from 'node:path';
import { embeddedLog, isPartitaError, processorAt, StateManager } from 'partita';
import type words from './processor.js';

// Before the start, which may take long: a signal that comes meanwhile ends it.
const told = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    console.log(`stopping after ${signal}`);
    told.abort();
  });

const dir = process.env['STATE_DIR'] ?? '.state/signals';
const log = await embeddedLog({ dir: join(dir, 'log') });
try {
  const manager = await StateManager.start({
    group: 'signals',
    log,
    stateDir: join(dir, 'state'),
    workers: 1,
    createTopics: { partitions: 2 },
    streams: { words: processorAt<typeof words>(new URL('./processor.js', import.meta.url)) },
    signal: told.signal,
  });
  manager.on('stopped', ({ committed }) => {
    console.log(committed ? 'everything is committed' : 'something will be processed again');
  });
  await manager.streams.words.send('words', { key: 'hello', value: '' });
  console.log('running');

  if (!told.signal.aborted) await once(told.signal, 'abort');
  // Shorter than what the platform waits before it kills.
  await manager.stop({ deadlineMs: 20_000 });
} catch (error) {
  // Late, but released all the same.
  if (isPartitaError(error, 'STOP_DEADLINE')) process.exitCode = 1;
  // Told so before it had started.
  else if (!isPartitaError(error, 'CALL_ABORTED')) throw error;
}
await log.close();
// No process.exit: nothing is left that would keep the process alive.
