/**
 * A program that runs until it is told to stop: SIGTERM and SIGINT commit, release everything and set the exit code; a
 * second signal ends it at once, which is safe too.
 */
import { join } from 'node:path';
import { embeddedLog, isPartitaError, processorAt, StateManager } from 'partita';
import type words from './processor.js';

// Before the start, which may take long: a signal that comes meanwhile is not lost.
const told = new Promise<NodeJS.Signals>((resolve) => {
  for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, resolve);
});

const dir = process.env['STATE_DIR'] ?? '.state/signals';
const log = await embeddedLog({ dir: join(dir, 'log') });
const manager = await StateManager.start({
  group: 'signals',
  log,
  stateDir: join(dir, 'state'),
  workers: 1,
  createTopics: { partitions: 2 },
  streams: { words: processorAt<typeof words>(new URL('./processor.js', import.meta.url)) },
});
manager.on('stopped', ({ committed }) => {
  console.log(committed ? 'everything is committed' : 'something will be processed again');
});
await manager.ready();
await manager.streams.words.send('words', { key: 'hello', value: '' });
console.log('running');

const signal = await told;
console.log(`stopping after ${signal}`);
try {
  // Shorter than what the platform waits before it kills.
  await manager.stop({ deadlineMs: 20_000 });
} catch (error) {
  // Late, but released all the same.
  if (!isPartitaError(error, 'STOP_DEADLINE')) throw error;
  process.exitCode = 1;
}
await log.close();
// No process.exit: nothing is left that would keep the process alive.
