/** Produces readings, kills the job (SIGKILL, no goodbye) three times in the middle of its work, and lets it finish. */
import { fork } from 'node:child_process';
import { on, once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { embeddedLog } from 'partita';

/** What the job reports: the committed state, and at its end the number of outputs. */
interface Progress {
  readonly count: number;
  readonly sum: number;
  readonly outputs?: number;
}

const RECORDS = 300_000;
const dir = await mkdtemp(join(tmpdir(), 'partita-crash-'));
const log = await embeddedLog({ dir: join(dir, 'log') });
await log.createTopic({ topic: 'readings', partitions: 4 });
let sum = 0;
for (let at = 0; at < RECORDS; at += 10_000) {
  const batch = Array.from({ length: 10_000 }, (_, i) => ({
    key: `sensor-${(at + i) % 1_000}`,
    value: String(i % 7),
  }));
  sum += batch.reduce((total, { value }) => total + Number(value), 0);
  await log.produce('readings', batch);
}
await log.close();
console.log(`produced ${RECORDS} readings, sum ${sum}`);

let committed = 0;
for (let life = 1; life <= 4; life++) {
  const job = fork(new URL('./job.js', import.meta.url), [dir, String(RECORDS)]);
  const exit = once(job, 'exit');
  let first = true;
  for await (const [message] of on(job, 'message', { close: ['exit'] })) {
    const { count, sum, outputs } = message as Progress;
    if (first) console.log(`life ${life} has what was committed before: ${count >= committed}`);
    first = false;
    committed = count;
    if (outputs !== undefined) console.log(`counted ${count}, sum ${sum}, ${outputs} outputs`);
    else if (life < 4 && count > (life * RECORDS) / 5) job.kill('SIGKILL');
  }
  await exit;
}
await rm(dir, { recursive: true });
