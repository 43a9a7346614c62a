/**
 * Owns what the nodes of a test cluster are told: which ports they get, and their configs, fast and small. It never
 * starts anything; kafka-broker.ts, which comes next, puts this together with the processes.
 */
import { randomInt } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

const PORT_TRIES_MAX = 100;

export interface NodePorts {
  readonly id: number;
  readonly plain: number;
  readonly controller: number;
  readonly sasl: number;
  readonly ssl: number;
}

const QUICK_CONFIGS: Readonly<Record<string, string>> = {
  'auto.create.topics.enable': 'false',
  'group.initial.rebalance.delay.ms': '0',
  'group.min.session.timeout.ms': '100',
  'offsets.topic.num.partitions': '1',
  'transaction.state.log.num.partitions': '1',
  'num.network.threads': '1',
  'num.io.threads': '2',
  'log.cleaner.threads': '1',
  'log.cleaner.dedupe.buffer.size': '4194304',
  'log.cleaner.backoff.ms': '200',
  'broker.heartbeat.interval.ms': '500',
};

export async function nodePorts(count: number): Promise<NodePorts[]> {
  const free = await freePorts(count * 4);
  return Array.from({ length: count }, (_, index) => {
    const [plain, controller, sasl, ssl] = free.slice(index * 4, index * 4 + 4) as [
      number,
      number,
      number,
      number,
    ];
    return { id: index + 1, plain, controller, sasl, ssl };
  });
}

/**
 * Ports below the range from which the system gives ports to outgoing connections: a node that was killed must find its
 * port free again, and a client that tries to reach it meanwhile must not connect to itself. `KAFKA_PORTS` (`from-to`)
 * narrows them.
 */
async function freePorts(count: number): Promise<number[]> {
  const [from = 10_000, to = 32_000] = (process.env['KAFKA_PORTS'] ?? '10000-32000').split('-').map(Number);
  const found = new Set<number>();
  for (let tries = 0; found.size < count; tries++) {
    if (tries >= PORT_TRIES_MAX) throw new Error(`Found no ${count} free ports between ${from} and ${to}.`);
    const port = randomInt(from, to + 1);
    if (await isFree(port)) found.add(port);
  }
  return [...found];
}

/** One of them, for whatever stands beside the brokers. */
export async function freePort(): Promise<number> {
  const [port] = await freePorts(1);
  return port!;
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  try {
    server.listen(port, '127.0.0.1');
    await once(server, 'listening');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') return false;
    throw error;
  }
  server.close();
  await once(server, 'close');
  return true;
}

/** The configs of one node that is both broker and controller; every topic of a cluster of three survives any one node. */
export function nodeConfigs(
  own: NodePorts,
  all: readonly NodePorts[],
  secured: boolean,
): Readonly<Record<string, string>> {
  const replicas = String(Math.min(all.length, 3));
  const inSync = all.length >= 3 ? '2' : '1';
  return {
    'process.roles': 'broker,controller',
    'node.id': String(own.id),
    'controller.quorum.voters': all.map(({ id, controller }) => `${id}@127.0.0.1:${controller}`).join(','),
    ...listenerConfigs(own, secured),
    'default.replication.factor': replicas,
    'offsets.topic.replication.factor': replicas,
    'transaction.state.log.replication.factor': replicas,
    'min.insync.replicas': inSync,
    'transaction.state.log.min.isr': inSync,
    // Instead of nine seconds: a killed node is missed, and may register anew, only after that.
    'broker.session.timeout.ms': all.length === 1 ? '2000' : '3000',
    ...QUICK_CONFIGS,
  };
}

function listenerConfigs(own: NodePorts, secured: boolean): Readonly<Record<string, string>> {
  const open = [`PLAINTEXT://127.0.0.1:${own.plain}`];
  if (secured) open.push(`SASL_SSL://127.0.0.1:${own.sasl}`, `SSL://127.0.0.1:${own.ssl}`);
  return {
    listeners: [...open, `CONTROLLER://127.0.0.1:${own.controller}`].join(','),
    'advertised.listeners': open.join(','),
    'listener.security.protocol.map': 'CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL,SSL:SSL',
    'controller.listener.names': 'CONTROLLER',
    'inter.broker.listener.name': 'PLAINTEXT',
  };
}
