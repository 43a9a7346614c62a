/** Sends a sentence word by word, waits for the counts in the output topic, and asks the state for some of them. */
import { setTimeout as sleep } from 'node:timers/promises';
import { embeddedLog, processorAt, StateManager } from 'partita';
import type wordCount from './processor.js';

const words = 'the quick brown fox jumps over the lazy dog and the dog sleeps on'.split(' ');
const log = await embeddedLog();
await log.createTopic({ topic: 'words', partitions: 4 });
const manager = await StateManager.start({
  group: 'word-count',
  log,
  stateDir: '.state',
  engine: 'memory',
  createTopics: { partitions: 4 },
  streams: { words: processorAt<typeof wordCount>(new URL('./processor.js', import.meta.url)) },
});
for (const word of words) await manager.streams.words.send('words', { key: word, value: '' });
while ((await counted()) < words.length) await sleep(20);
for (const word of ['the', 'dog', 'fox', 'cat'])
  console.log(word, (await manager.streams.words.query('count', { key: word })) ?? 'never');
await manager.stop();
await log.close();

async function counted(): Promise<number> {
  let n = 0;
  for await (const { value } of log.read('counts')) n += value === null ? 0 : 1;
  return n;
}
