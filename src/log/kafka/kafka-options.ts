/**
 * The options of `kafka()`: what kafkajs accepts for connections, and how Partita fetches. Validated and defaulted here,
 * once. Nothing of them is ever logged.
 */
import type { ConnectionOptions } from 'node:tls';
import type { SASLOptions } from 'kafkajs';
import { PartitaError } from '../../core/errors.js';

export interface KafkaLogOptions {
  /** Addresses `host:port` of some brokers, or a function that gives them; the others are learned from these. */
  readonly brokers: readonly string[] | (() => readonly string[] | Promise<readonly string[]>);
  /** The client's name in the brokers' logs and quotas. @default 'partita-<group>' */
  readonly clientId?: string;
  /** TLS: `true`, or Node's options for it (`ca`, `cert`, `key`, …). @default off */
  readonly ssl?: boolean | ConnectionOptions;
  /** SASL: `plain`, `scram-sha-256`, `scram-sha-512`, `oauthbearer` with a function, `aws`. @default off */
  readonly sasl?: SASLOptions;
  /** How long one TCP or TLS connection may take. @default 5,000 */
  readonly connectionTimeoutMs?: number;
  /** @default 10,000 */
  readonly authenticationTimeoutMs?: number;
  /** How long `start` tries to reach some broker. @default 10,000 */
  readonly connectTimeoutMs?: number;
  /** How long a broker may take for an answer before the connection is given up. @default 30,000 */
  readonly requestTimeoutMs?: number;
  /** How long requests that are no part of a transaction are retried over lost brokers. @default 60,000 */
  readonly retryTimeoutMs?: number;
  /** How often partition counts are looked at again. @default 60,000 */
  readonly metadataMaxAgeMs?: number;
  readonly fetch?: {
    /** How long a broker waits for something to fetch; while nothing happens, up to four times as long. @default 100 */
    readonly maxWaitMs?: number;
    /** Bytes a broker collects before it answers, unless the time is over. @default 1 */
    readonly minBytes?: number;
    /** Bytes of one answer at most, all its partitions together. @default 10 MiB */
    readonly maxBytes?: number;
    /** Bytes of one partition in one answer, at least one batch; `chunkBytes` of the manager overrides it. @default 512 KiB */
    readonly maxBytesPerPartition?: number;
  };
}

export interface ResolvedKafkaOptions {
  readonly brokers: () => Promise<readonly string[]>;
  readonly clientId: string | undefined;
  readonly ssl: ConnectionOptions | undefined;
  readonly sasl: SASLOptions | undefined;
  readonly connectionTimeoutMs: number;
  readonly authenticationTimeoutMs: number;
  readonly connectTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly retryTimeoutMs: number;
  readonly metadataMaxAgeMs: number;
  readonly fetch: {
    readonly maxWaitMs: number;
    readonly minBytes: number;
    readonly maxBytes: number;
    readonly maxBytesPerPartition: number;
  };
}

const ADDRESS = /^(\[[0-9a-fA-F:]+\]|[^\s:[\]/]+):(\d{1,5})$/;

/** @throws PartitaError INVALID_OPTIONS naming the option, never its value where that may be a secret */
export function resolveKafkaOptions(options: KafkaLogOptions): ResolvedKafkaOptions {
  const { brokers, ssl, sasl, fetch = {} } = options;
  if (typeof brokers !== 'function') checkAddresses(brokers);
  checkSasl(sasl);
  const number = (name: string, value: number | undefined, byDefault: number, min = 1): number => {
    if (value === undefined) return byDefault;
    if (Number.isInteger(value) && value >= min) return value;
    return invalid(name, `must be a whole number of at least ${min}`);
  };
  return Object.freeze({
    brokers: async () => (typeof brokers === 'function' ? checkAddresses(await brokers()) : brokers),
    clientId: options.clientId,
    ssl: ssl === true ? {} : ssl === false ? undefined : ssl,
    sasl,
    connectionTimeoutMs: number('connectionTimeoutMs', options.connectionTimeoutMs, 5_000),
    authenticationTimeoutMs: number('authenticationTimeoutMs', options.authenticationTimeoutMs, 10_000),
    connectTimeoutMs: number('connectTimeoutMs', options.connectTimeoutMs, 10_000),
    requestTimeoutMs: number('requestTimeoutMs', options.requestTimeoutMs, 30_000),
    retryTimeoutMs: number('retryTimeoutMs', options.retryTimeoutMs, 60_000, 0),
    metadataMaxAgeMs: number('metadataMaxAgeMs', options.metadataMaxAgeMs, 60_000),
    fetch: Object.freeze({
      maxWaitMs: number('fetch.maxWaitMs', fetch.maxWaitMs, 100),
      minBytes: number('fetch.minBytes', fetch.minBytes, 1),
      maxBytes: number('fetch.maxBytes', fetch.maxBytes, 10 << 20),
      maxBytesPerPartition: number('fetch.maxBytesPerPartition', fetch.maxBytesPerPartition, 512 << 10),
    }),
  });
}

export interface BrokerAddress {
  readonly host: string;
  readonly port: number;
}

export function parseAddress(address: string): BrokerAddress {
  const [, host, port] = ADDRESS.exec(address) ?? [];
  if (host === undefined || !(Number(port) > 0 && Number(port) < 65_536))
    return invalid('brokers', `${JSON.stringify(address)} is not an address host:port`);
  return { host: host.replace(/^\[|\]$/g, ''), port: Number(port) };
}

function checkAddresses(brokers: readonly string[]): readonly string[] {
  if (brokers.length === 0) return invalid('brokers', 'needs at least one address');
  brokers.forEach(parseAddress);
  return brokers;
}

const MECHANISMS: Readonly<Record<string, readonly string[]>> = {
  plain: ['username', 'password'],
  'scram-sha-256': ['username', 'password'],
  'scram-sha-512': ['username', 'password'],
  aws: ['authorizationIdentity', 'accessKeyId', 'secretAccessKey'],
  oauthbearer: ['oauthBearerProvider'],
};

function checkSasl(sasl: SASLOptions | undefined): void {
  if (sasl === undefined) return;
  const needed = MECHANISMS[sasl.mechanism];
  if (needed === undefined) invalid('sasl.mechanism', `must be one of ${Object.keys(MECHANISMS).join(', ')}`);
  for (const name of needed) {
    const value = (sasl as unknown as Readonly<Record<string, unknown>>)[name];
    if (name === 'oauthBearerProvider' ? typeof value !== 'function' : typeof value !== 'string')
      invalid(`sasl.${name}`, `is needed for ${sasl.mechanism}`);
  }
}

function invalid(path: string, problem: string): never {
  throw new PartitaError('INVALID_OPTIONS', `Invalid options of kafka(): ${path}: ${problem}.`, {
    details: { path },
  });
}
