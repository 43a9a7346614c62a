/**
 * The program that `peers/measure.py` drives on Kafka: W1 (`stream-processor.ts`) or W2 (`window-processor.ts`) from one
 * topic to another, as a user would write it. Besides that it prints how far it is (`@progress`) and when its state stands (`@restore-start`,
 * `@restored`), and stops in order on SIGTERM. `peers/README.md` has the commands.
 */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { kafka, processorAt, StateManager, type ManagerStats } from '../../src/index.js';
import type processor from './stream-processor.js';

/** Until the first record the program looks more often: the driver takes the line as the end of the start. */
const FIRST_LOOK_MS = 20;
const FIRST_LOOKS_MAX = 500;
const LOOK_MS = 100;

const USAGE = `usage: stream.js --in TOPIC [--out TOPIC] --group GROUP --state DIR --brokers HOST:PORT[,…]
  [--workers N] [--alo | --eos] [--commit SECONDS] [--engine level|rocksdb|memory] [--work w1|w2] [--final] [--window KIND] [--quiet]`;

const settings = readArguments();
const manager = await StateManager.start({
  group: settings.group,
  log: kafka({ brokers: settings.brokers }),
  stateDir: settings.state,
  workers: settings.workers,
  guarantee: settings.guarantee,
  engine: settings.engine,
  checkpoint: settings.commitMs === undefined ? {} : { intervalMs: settings.commitMs },
  streams: { [settings.work]: processorAt<typeof processor>(processorUrl(settings)) },
});
say('@restore-start');
manager.on('recovered', ({ partition, restoredRecords, durationMs }) => {
  say(`@restored partition ${partition}, ${restoredRecords} records, ${Math.round(durationMs)} ms`);
});
manager.on('restarting', ({ partition, error }) => {
  console.error(`Partition ${partition} restarts:`, error);
});
manager.on('failed', ({ error }) => {
  console.error('The manager has failed:', error);
  process.exitCode = 1;
});
const stopping = new AbortController();
for (const signal of ['SIGTERM', 'SIGINT'] as const)
  process.once(signal, () => {
    stopping.abort();
  });

void manager.ready().then(
  () => {
    say('@restored all');
  },
  // Failed or stopped before it was ready: the event above, or the signal, has said so.
  () => undefined,
);
if (settings.quiet) await once(stopping.signal, 'abort');
else await showProgress();
await manager.stop();

/** Prints the records seen by this process whenever there are more, until the program is to stop or has failed. */
async function showProgress(): Promise<void> {
  const byIncarnation = new Map<string, number>();
  let shown = 0;
  let looks = 0;
  while (!stopping.signal.aborted && manager.state !== 'failed' && manager.state !== 'stopped') {
    const records = addUp(byIncarnation, await manager.stats());
    if (shown === 0 && records > 0) say('@progress 1');
    if (records > shown && records > 1) say(`@progress ${records}`);
    shown = records;
    const isFirst = records === 0 && ++looks < FIRST_LOOKS_MAX;
    await sleep(isFirst ? FIRST_LOOK_MS : LOOK_MS, undefined, { signal: stopping.signal }).catch(
      // Aborted: the loop looks next.
      () => undefined,
    );
  }
}

/** Adds up what every incarnation of every partition has processed, also of those that have left since. */
function addUp(byIncarnation: Map<string, number>, { partitions }: ManagerStats): number {
  for (const { partition, epoch, actor } of partitions)
    if (actor !== undefined) byIncarnation.set(`${partition}/${epoch ?? 0}`, actor.records);
  let sum = 0;
  for (const records of byIncarnation.values()) sum += records;
  return sum;
}

function processorUrl({ work, topics, window }: ReturnType<typeof readArguments>): URL {
  const url = new URL(work === 'w1' ? './stream-processor.js' : './window-processor.js', import.meta.url);
  const parameters = work === 'w1' ? topics : { ...topics, ...window };
  for (const [name, value] of Object.entries(parameters)) url.searchParams.set(name, value);
  return url;
}

function readArguments() {
  const { values } = parseArgs({
    options: {
      in: { type: 'string' },
      out: { type: 'string' },
      group: { type: 'string' },
      state: { type: 'string' },
      brokers: { type: 'string', default: '127.0.0.1:19192' },
      workers: { type: 'string', default: '1' },
      eos: { type: 'boolean', default: false },
      alo: { type: 'boolean', default: false },
      commit: { type: 'string' },
      engine: { type: 'string', default: 'level' },
      work: { type: 'string', default: 'w1' },
      final: { type: 'boolean', default: false },
      window: { type: 'string', default: 'tumbling' },
      /** No progress: asking the actors for it is work of its own, which an idle program does not do. */
      quiet: { type: 'boolean', default: false },
    },
  });
  const needed = (name: 'in' | 'group' | 'state'): string =>
    values[name] ?? refuse(`--${name} is missing.\n${USAGE}`);
  const work =
    (['w1', 'w2'] as const).find((known) => known === values.work) ??
    refuse(`There is no work ${values.work}.\n${USAGE}`);
  if (values.final && work === 'w1') refuse('--final is about windows, which W1 has none of.');
  if (values.eos && values.alo) refuse('Either --eos or --alo, not both.');
  const commitMs = values.commit === undefined ? undefined : Math.round(Number(values.commit) * 1000);
  if (commitMs !== undefined && !(commitMs >= 1)) refuse(`--commit takes seconds, not ${values.commit!}.`);
  return {
    work,
    window: { window: values.window, emission: values.final ? 'final' : 'updates' },
    topics: { in: needed('in'), ...(values.out === undefined ? {} : { out: values.out }) },
    group: needed('group'),
    state: needed('state'),
    brokers: values.brokers.split(','),
    workers: Number(values.workers),
    guarantee: values.eos ? ('exactly-once' as const) : ('at-least-once' as const),
    commitMs,
    quiet: values.quiet,
    engine:
      (['level', 'rocksdb', 'memory'] as const).find((kind) => kind === values.engine) ??
      refuse(`There is no engine ${values.engine}.`),
  };
}

function refuse(why: string): never {
  console.error(why);
  process.exit(2);
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}
