/**
 * `npm run test:chaos -- [--faults 100] [--seed n] [--guarantee exactly-once|at-least-once] [--processes 3]
 * [--every ms] [--rate records/s] [--nodes 3] [--quiet]`: chaos on brokers of its own, with a log of what it did and a summary.
 */
import { parseArgs } from 'node:util';
import { runChaos } from '../support/chaos/run.js';
import { kafkaBroker } from '../support/kafka-broker.js';
import { installOtherClient } from '../support/other-client.js';

const { values } = parseArgs({
  options: {
    faults: { type: 'string', default: '100' },
    seed: { type: 'string', default: String(Date.now() % 1_000_000) },
    guarantee: { type: 'string', default: 'exactly-once' },
    processes: { type: 'string', default: '3' },
    every: { type: 'string', default: '3000' },
    rate: { type: 'string', default: '2000' },
    nodes: { type: 'string', default: '3' },
    quiet: { type: 'boolean', default: false },
  },
});
const { guarantee } = values;
if (guarantee !== 'exactly-once' && guarantee !== 'at-least-once')
  throw new Error('--guarantee is exactly-once or at-least-once.');

await installOtherClient();
const broker = await kafkaBroker({ controlled: true, nodes: Number(values.nodes) });
if (broker === undefined) throw new Error('java or mvn are missing, so there is no broker to break.');
process.stdout.write(`seed ${values.seed}, ${guarantee}, Kafka ${broker.version}\n`);
try {
  const summary = await runChaos({
    broker,
    seed: Number(values.seed),
    faults: Number(values.faults),
    processes: Number(values.processes),
    guarantee,
    everyMs: Number(values.every),
    recordsPerSecond: Number(values.rate),
    log: (line) => {
      if (!values.quiet) process.stdout.write(`${line}\n`);
    },
  });
  process.stdout.write(`${JSON.stringify(summary, undefined, 2)}\n`);
} catch (error) {
  process.stdout.write(`FAILED: ${error instanceof Error ? error.message : String(error)}\n`);
  process.exitCode = 1;
} finally {
  await broker.stop();
}
