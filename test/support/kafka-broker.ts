/**
 * Owns the real Kafka brokers of a test: one node, or a cluster, on free ports of 127.0.0.1 with data in a temporary
 * folder, and moves to kill, pause and restart them. It never talks about records. kafka-node.ts runs one process;
 * describe-kafka.ts, which comes next, is how a test file asks for a broker.
 */
import { randomBytes } from 'node:crypto';
import { existsSync, rmSync, statSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Kafka, logLevel } from 'kafkajs';
import { atEnd } from './at-end.js';
import { brokerMissing, kafkaJars, once } from './kafka-jars.js';
import { nodeConfigs, nodePorts, type NodePorts } from './kafka-layout.js';
import { KafkaNode } from './kafka-node.js';
import { saslMaterial, type SaslMaterial } from './kafka-sasl.js';

export interface KafkaBrokerOptions {
  /** @default `KAFKA_VERSION`, or 4.4.0 */
  readonly version?: string;
  /** Heap of each node. @default 256, in a cluster 192 */
  readonly heapMb?: number;
  /** `SASL_SSL` adds listeners with SASL over TLS, and with mutual TLS, to the plain one. @default 'PLAINTEXT' */
  readonly listeners?: 'PLAINTEXT' | 'SASL_SSL';
  /** Broker configs, over the defaults below. */
  readonly configs?: Readonly<Record<string, string>>;
  /** @default 1 */
  readonly nodes?: number;
  /** True if the test kills, pauses or restarts the broker, which must then be its own. @default false */
  readonly controlled?: boolean;
  /** True for measurements: slower to start, faster under load. @default false */
  readonly fullJit?: boolean;
}

export interface KafkaBroker {
  readonly version: string;
  /** `host:port` of the plain listeners, in the order of `nodes`. */
  readonly brokers: readonly string[];
  /** Node ids; every move below takes one of them, and means the first if none is named. */
  readonly nodes: readonly number[];
  /** What a client needs for the secured listeners, with `listeners: 'SASL_SSL'`. */
  readonly sasl: KafkaSasl | undefined;
  /** SIGKILL; resolves when the process is gone. */
  kill(node?: number): Promise<void>;
  /** SIGTERM; resolves when the node has left in order and the process is gone. */
  terminate(node?: number): Promise<void>;
  /** SIGSTOP: the node keeps its connections and answers nothing. */
  pause(node?: number): void;
  resume(node?: number): void;
  /** Starts a node that was killed or terminated, on its data and port; resolves when it serves. */
  start(node?: number): Promise<void>;
  /** Terminates and starts it; resolves when it serves again. */
  restart(node?: number): Promise<void>;
  /** The node id of the leader, as the cluster's controller tells it; -1 if there is none. */
  leaderOf(topic: string, partition: number): Promise<number>;
  /** `host:port` of that leader's plain listener. */
  leaderAddress(topic: string, partition: number): Promise<string>;
  pid(node?: number): number | undefined;
  /** Ends all nodes at once and removes their data. Idempotent. */
  stop(): Promise<void>;
}

export interface KafkaSasl extends SaslMaterial {
  /** `host:port` of the SASL_SSL listeners. */
  readonly saslBrokers: readonly string[];
  /** `host:port` of the SSL listeners, which demand the client certificate. */
  readonly sslBrokers: readonly string[];
}

const CLUSTER_BUDGET_MS = 60_000;

/**
 * The brokers that `KAFKA_BROKERS` names (comma separated), if the test asks for nothing special; otherwise starts one.
 * `undefined` if java or mvn are missing.
 */
export async function kafkaBroker(options: KafkaBrokerOptions = {}): Promise<KafkaBroker | undefined> {
  const given = givenBrokers(options);
  if (given !== undefined) return externalBroker(given);
  const version = options.version ?? defaultVersion();
  if (brokerMissing(version) !== undefined) return undefined;
  const jars = await kafkaJars(version);
  return LocalBroker.start(version, { jars, archive: await classArchive(version, jars), options });
}

/** Why `kafkaBroker(options)` would return `undefined`, or `undefined` if it would not. */
export function kafkaMissing(options: KafkaBrokerOptions = {}): string | undefined {
  return givenBrokers(options) === undefined ? brokerMissing(options.version ?? defaultVersion()) : undefined;
}

function defaultVersion(): string {
  return process.env['KAFKA_VERSION'] ?? '4.4.0';
}

function givenBrokers(options: KafkaBrokerOptions): readonly string[] | undefined {
  const given = process.env['KAFKA_BROKERS'];
  const special = Object.values(options).some((value) => value !== undefined);
  return given === undefined || given === '' || special ? undefined : given.split(',');
}

function externalBroker(brokers: readonly string[]): KafkaBroker {
  const refuse = (): never => {
    throw new Error('The brokers of KAFKA_BROKERS are not ours to control; ask for `controlled: true`.');
  };
  return {
    version: 'external',
    brokers,
    nodes: [],
    sasl: undefined,
    kill: refuse,
    terminate: refuse,
    pause: refuse,
    resume: refuse,
    start: refuse,
    restart: refuse,
    pid: refuse,
    leaderOf: async (topic, partition) => (await leader(brokers, topic, partition)).id,
    leaderAddress: async (topic, partition) => (await leader(brokers, topic, partition)).address,
    stop: () => Promise.resolve(),
  };
}

class LocalBroker implements KafkaBroker {
  readonly version: string;
  readonly brokers: readonly string[];
  readonly nodes: readonly number[];
  readonly sasl: KafkaSasl | undefined;
  readonly #discard: () => Promise<void>;
  readonly #nodes: ReadonlyMap<number, KafkaNode>;
  #stopped: Promise<void> | undefined;

  static async start(version: string, request: BrokerRequest): Promise<LocalBroker> {
    const { options } = request;
    const directory = await mkdtemp(join(tmpdir(), 'partita-kafka-'));
    const forget = atEnd(() => {
      rmSync(directory, { recursive: true, force: true, maxRetries: 5 });
    });
    const discard = async (): Promise<void> => {
      await rm(directory, { recursive: true, force: true });
      forget();
    };
    try {
      const material = options.listeners === 'SASL_SSL' ? await saslMaterial(directory) : undefined;
      const ports = await nodePorts(options.nodes ?? 1);
      const plan = { ...request, directory, clusterId: newClusterId(), material };
      const nodes = ports.map((own) => kafkaNode(own, ports, plan));
      await allStarted(nodes);
      return new LocalBroker(version, nodes, saslOf(material, ports), discard);
    } catch (error) {
      await discard();
      throw error;
    }
  }

  private constructor(
    version: string,
    nodes: readonly KafkaNode[],
    sasl: KafkaSasl | undefined,
    discard: () => Promise<void>,
  ) {
    this.version = version;
    this.#discard = discard;
    this.#nodes = new Map(nodes.map((node) => [node.id, node]));
    this.brokers = nodes.map((node) => node.address);
    this.nodes = nodes.map((node) => node.id);
    this.sasl = sasl;
  }

  kill(node?: number): Promise<void> {
    return this.#node(node).kill();
  }

  pause(node?: number): void {
    this.#node(node).pause();
  }

  resume(node?: number): void {
    this.#node(node).resume();
  }

  terminate(node?: number): Promise<void> {
    return this.#node(node).terminate();
  }

  start(node?: number): Promise<void> {
    return this.#node(node).start();
  }

  async restart(node?: number): Promise<void> {
    await this.terminate(node);
    await this.start(node);
  }

  async leaderOf(topic: string, partition: number): Promise<number> {
    return (await leader(this.brokers, topic, partition)).id;
  }

  async leaderAddress(topic: string, partition: number): Promise<string> {
    return (await leader(this.brokers, topic, partition)).address;
  }

  pid(node?: number): number | undefined {
    return this.#node(node).pid;
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  async #stop(): Promise<void> {
    await Promise.all([...this.#nodes.values()].map((node) => node.kill()));
    await this.#discard();
  }

  #node(id = this.nodes[0]!): KafkaNode {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new Error(`There is no node ${id}; there are ${this.nodes.join(', ')}.`);
    return node;
  }
}

interface Leader {
  /** -1: there is none. */
  readonly id: number;
  readonly address: string;
}

async function leader(brokers: readonly string[], topic: string, partition: number): Promise<Leader> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
    const found = topics[0]?.partitions.find((one) => one.partitionId === partition);
    if (found === undefined) throw new Error(`There is no partition ${partition} of ${topic}.`);
    const nodes = (await admin.describeCluster()).brokers;
    const node = nodes.find(({ nodeId }) => nodeId === found.leader);
    return { id: found.leader, address: node === undefined ? '' : `${node.host}:${node.port}` };
  } finally {
    await admin.disconnect();
  }
}

async function allStarted(nodes: readonly KafkaNode[]): Promise<void> {
  try {
    await Promise.all(nodes.map((node) => node.format().then(() => node.start())));
    await allAlive(nodes);
  } catch (error) {
    await Promise.all(nodes.map((node) => node.kill()));
    throw error;
  }
}

/** Each node has registered by itself; a client may ask any of them, so all have to know all. */
async function allAlive(nodes: readonly KafkaNode[]): Promise<void> {
  const deadline = Date.now() + CLUSTER_BUDGET_MS;
  for (const node of nodes)
    while ((await node.sees()).length !== nodes.length) {
      if (Date.now() > deadline)
        throw new Error(`Node ${node.id} does not see the others:\n${node.lastLines()}`);
      await sleep(50);
    }
}

function saslOf(material: SaslMaterial | undefined, ports: readonly NodePorts[]): KafkaSasl | undefined {
  if (material === undefined) return undefined;
  return {
    ...material,
    saslBrokers: ports.map(({ sasl }) => `127.0.0.1:${sasl}`),
    sslBrokers: ports.map(({ ssl }) => `127.0.0.1:${ssl}`),
  };
}

interface BrokerRequest {
  readonly jars: string;
  /** See `classArchive`. */
  readonly archive: string | undefined;
  readonly options: KafkaBrokerOptions;
  /** Further options of the JVM. */
  readonly jvm?: readonly string[];
}

interface ClusterPlan extends BrokerRequest {
  readonly directory: string;
  readonly clusterId: string;
  readonly material: SaslMaterial | undefined;
}

function kafkaNode(own: NodePorts, all: readonly NodePorts[], plan: ClusterPlan): KafkaNode {
  const directory = join(plan.directory, `node-${own.id}`);
  return new KafkaNode({
    id: own.id,
    port: own.plain,
    directory,
    jars: plan.jars,
    clusterId: plan.clusterId,
    jvm: jvmOptions(all.length, plan),
    properties: {
      ...nodeConfigs(own, all, plan.material !== undefined),
      'log.dirs': join(directory, 'data'),
      ...plan.material?.configs,
      ...plan.options.configs,
    },
    formatArguments: plan.material?.formatArguments ?? [],
  });
}

function jvmOptions(nodes: number, { options, archive, jvm = [] }: ClusterPlan): readonly string[] {
  const result = [`-Xmx${options.heapMb ?? (nodes === 1 ? 256 : 192)}m`, ...jvm];
  if (options.fullJit !== true) result.push('-XX:TieredStopAtLevel=1');
  if (archive !== undefined) result.push(`-XX:SharedArchiveFile=${archive}`);
  return result;
}

/**
 * The loaded classes of a broker that ran once, in the cache: a start takes 2.7 s with it and 4.2 s without. A JVM that
 * cannot use it ignores it; for one that cannot make it an empty file keeps later tests from trying again.
 */
async function classArchive(version: string, jars: string): Promise<string | undefined> {
  const archive = `${jars}.jsa`;
  await once(archive, async (temporary) => {
    const made = join(temporary, 'classes.jsa');
    const jvm = [`-XX:ArchiveClassesAtExit=${made}`];
    try {
      const broker = await LocalBroker.start(version, { jars, archive: undefined, options: {}, jvm });
      await broker.terminate();
      await broker.stop();
    } catch (error) {
      process.stderr.write(`Kafka ${version} will start without a class archive: ${String(error)}\n`);
    }
    if (!existsSync(made)) await writeFile(made, '');
    return made;
  });
  return statSync(archive).size > 0 ? archive : undefined;
}

/** Sixteen random bytes as Kafka prints them; a first bit of 0 keeps a leading dash away, which would read as an option. */
function newClusterId(): string {
  const bytes = randomBytes(16);
  bytes[0]! &= 0x7f;
  return bytes.toString('base64url');
}
