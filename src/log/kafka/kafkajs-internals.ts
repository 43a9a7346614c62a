/**
 * The only place that reaches into kafkajs: its broker connections (sockets, TLS, SASL, framing, time-outs, throttling)
 * and the requests that it encodes well. kafkajs is pinned to 2.2.4 and frozen upstream, so these paths are stable;
 * another version is refused here, and a test says so. What Partita encodes itself is in `wire/`; who connects to which
 * broker is `cluster.ts`.
 */
import { createRequire } from 'node:module';
import { connect as connectTcp, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';
import type { SASLOptions } from 'kafkajs';
import { PartitaError } from '../../core/errors.js';
import { AnswerAssembler } from './answer-assembler.js';
import { loginOptions } from './token-login.js';
import { ByteWriter } from './wire/byte-writer.js';

export const KAFKAJS_VERSION = '2.2.4';

/** A request of our own, as kafkajs' connections send it: what follows the request header, in pieces. */
export interface WireRequest<T> {
  readonly apiKey: number;
  readonly apiVersion: number;
  readonly apiName: string;
  readonly body: Buffer | readonly Uint8Array[];
  decode(payload: Buffer): T;
  /** Longer than the connection's own time-out, for long polls. */
  readonly requestTimeoutMs?: number;
}

/** What a fetch asks of one partition. */
export interface FetchPartition {
  readonly partition: number;
  readonly fetchOffset: number;
  readonly maxBytes: number;
}

export interface FetchRequest {
  readonly isolationLevel: 0 | 1;
  readonly maxWaitTime: number;
  readonly minBytes: number;
  readonly maxBytes: number;
  readonly topics: readonly { readonly topic: string; readonly partitions: readonly FetchPartition[] }[];
}

interface Fenceable {
  readonly transactionalId: string;
  readonly producerId: string;
  readonly producerEpoch: number;
}

/** The requests of kafkajs that are used as they are. Each rejects with an error that has Kafka's `type` and `code`. */
export interface Requests {
  heartbeat(request: { groupId: string; groupGenerationId: number; memberId: string }): Promise<unknown>;
  findGroupCoordinator(request: { groupId: string; coordinatorType: 0 | 1 }): Promise<{
    readonly coordinator: { readonly nodeId: number; readonly host: string; readonly port: number };
  }>;
  joinGroup(request: {
    groupId: string;
    sessionTimeout: number;
    rebalanceTimeout: number;
    memberId: string;
    protocolType: string;
    groupProtocols: readonly { readonly name: string; readonly metadata: Buffer }[];
  }): Promise<{
    readonly generationId: number;
    readonly groupProtocol: string;
    readonly leaderId: string;
    readonly memberId: string;
    readonly members: readonly { readonly memberId: string; readonly memberMetadata: Buffer }[];
  }>;
  syncGroup(request: {
    groupId: string;
    generationId: number;
    memberId: string;
    groupAssignment: readonly { readonly memberId: string; readonly memberAssignment: Buffer }[];
  }): Promise<{ readonly memberAssignment: Buffer }>;
  leaveGroup(request: { groupId: string; memberId: string }): Promise<unknown>;
  listOffsets(request: {
    replicaId: number;
    isolationLevel: 0 | 1;
    topics: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number; readonly timestamp: number }[];
    }[];
  }): Promise<{
    readonly responses: readonly {
      readonly topic: string;
      readonly partitions: readonly { readonly partition: number; readonly offset: string }[];
    }[];
  }>;
  describeConfigs(request: {
    resources: readonly { readonly type: number; readonly name: string }[];
    includeSynonyms: boolean;
  }): Promise<{
    readonly resources: readonly {
      readonly resourceName: string;
      readonly configEntries: readonly { readonly configName: string; readonly configValue: string | null }[];
    }[];
  }>;
  initProducerId(request: {
    transactionalId: string | null;
    transactionTimeout: number;
  }): Promise<{ readonly producerId: string; readonly producerEpoch: number }>;
  addPartitionsToTxn(
    request: Fenceable & {
      topics: readonly { readonly topic: string; readonly partitions: readonly number[] }[];
    },
  ): Promise<unknown>;
}

export type ApiVersionRanges = Readonly<
  Record<number, { readonly minVersion: number; readonly maxVersion: number }>
>;

/** A broker of kafkajs over one connection. */
interface KafkajsBroker extends Requests {
  versions: ApiVersionRanges | null;
  connect(): Promise<void>;
}

interface KafkajsConnection {
  isConnected(): boolean;
  isAuthenticated(): boolean;
  connect(): Promise<unknown>;
  disconnect(): Promise<unknown>;
  processData(bytes: Buffer): void;
  readonly authHandlers: object | null;
  authenticate(): Promise<void>;
  getSupportAuthenticationProtocol(): boolean | null;
  setSupportAuthenticationProtocol(isSupported: boolean): void;
  setVersions(versions: ApiVersionRanges): void;
  rejectRequests(error: Error): void;
  send(request: object): Promise<unknown>;
  failIfNotConnected(): void;
  nextCorrelationId(): number;
  readonly requestQueue: KafkajsRequestQueue;
  socket?: { cork(): void; uncork(): void; write(bytes: Uint8Array): void; destroy(): void };
}

/** Matches answers to requests, and holds requests back while a broker throttles the client. */
interface KafkajsRequestQueue {
  readonly pending: readonly unknown[];
  readonly throttledUntil: number;
  throttleCheckTimeoutId: NodeJS.Timeout | null;
  push(request: {
    readonly entry: object;
    readonly expectResponse: boolean;
    readonly requestTimeout: number | null;
    readonly sendRequest: () => void;
  }): void;
  fulfillRequest(answer: {
    readonly size: number;
    readonly correlationId: number;
    readonly payload: Buffer;
  }): void;
  checkPendingRequests(): void;
  scheduleCheckPendingRequests(): void;
  readonly inflight: ReadonlyMap<
    number,
    { readonly sentAt: number; readonly requestTimeout: number; timeoutRequest(): void }
  >;
  requestTimeoutIntervalId: NodeJS.Timeout | undefined;
  scheduleRequestTimeoutCheck(): void;
  isConnected(): boolean;
}

/** kafkajs' own logger, reduced to where its sentences go. Its extra fields may hold payloads and are dropped. */
export interface KafkajsLogger {
  namespace(): KafkajsLogger;
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
}

export interface ConnectionSettings {
  readonly host: string;
  readonly port: number;
  readonly clientId: string;
  readonly ssl: ConnectionOptions | undefined;
  readonly sasl: SASLOptions | undefined;
  readonly connectionTimeoutMs: number;
  readonly authenticationTimeoutMs: number;
  readonly requestTimeoutMs: number;
  /** Whether each answer is done with before the next question is sent: then large ones share a buffer. */
  readonly reusesAnswers: boolean;
  readonly logger: KafkajsLogger;
}

/** One connection to one broker. */
export interface BrokerConnection {
  readonly requests: Requests;
  readonly versions: ApiVersionRanges;
  readonly isConnected: boolean;
  /** Connects, learns the broker's versions, and authenticates. Rejects with kafkajs' error. */
  connect(): Promise<void>;
  /** Rejects with kafkajs' connection errors only: what the broker answered is in the decoded result. */
  send<T>(request: WireRequest<T>): Promise<T>;
  /** A fetch whose answer is handed to `decode` as bytes. */
  fetch<T>(request: FetchRequest, decode: (payload: Buffer) => T): Promise<T>;
  /** What is under way rejects. Idempotent. */
  close(): Promise<void>;
}

export interface Kafkajs {
  connection(settings: ConnectionSettings): BrokerConnection;
  /** Kafka's name of an error code; `UNKNOWN_<code>` for one that kafkajs does not know. */
  errorType(code: number): string;
}

let loaded: Kafkajs | undefined;

/** Loads kafkajs. Rejects LOG_UNSUPPORTED for another version than the pinned one. */
export async function loadKafkajs(): Promise<Kafkajs> {
  return (loaded ??= load());
}

const FETCH_VERSION = 11;
const HELD_BACK_CHECK_MS = 10;
const TIMEOUT_CHECK_MS = 500;
const KEEP_ALIVE_MS = 60_000;
/** More of it at once means fewer system calls. */
const READ_BYTES = 256 << 10;

/** Codes that came after kafkajs. */
const LATER_ERRORS: Readonly<Record<number, string>> = {
  89: 'THROTTLING_QUOTA_EXCEEDED',
  90: 'PRODUCER_FENCED',
  120: 'TRANSACTION_ABORTABLE',
};

function load(): Kafkajs {
  const require = createRequire(import.meta.url);
  const { version } = require('kafkajs/package.json') as { version: string };
  if (version !== KAFKAJS_VERSION)
    throw new PartitaError(
      'LOG_UNSUPPORTED',
      `Partita needs kafkajs ${KAFKAJS_VERSION} exactly and found ${version}: its internals are used.`,
      { details: { expected: KAFKAJS_VERSION, found: version } },
    );
  const Broker = require('kafkajs/src/broker') as new (options: object) => KafkajsBroker;
  const Connection = require('kafkajs/src/network/connection') as new (options: object) => KafkajsConnection;
  const { failure, createErrorFromCode } = require('kafkajs/src/protocol/error') as {
    failure: (code: number) => boolean;
    createErrorFromCode: (code: number) => { readonly type: string; readonly code: number };
  };
  const fetch = require('kafkajs/src/protocol/requests/fetch') as {
    protocol(options: { version: number }): (request: object) => { request: object; requestTimeout: number };
  };
  const { KafkaJSConnectionClosedError } = require('kafkajs/src/errors') as {
    KafkaJSConnectionClosedError: new (message: string, at: { host: string; port: number }) => Error;
  };
  const makeFetch = fetch.protocol({ version: FETCH_VERSION });

  return {
    errorType: (code) => {
      if (!failure(code)) return 'NONE';
      const error = createErrorFromCode(code);
      return error.code === code ? error.type : (LATER_ERRORS[code] ?? `UNKNOWN_${code}`);
    },
    connection(settings) {
      const connection = new Connection(connectionOptions(settings));
      quietly(connection.requestQueue);
      readInPlace(connection, settings);
      // The socket stands before the broker's versions are known, and until then no request can be made.
      let ready = false;
      const drop = async (reason: string): Promise<void> => {
        connection.rejectRequests(new KafkaJSConnectionClosedError(reason, settings));
        await connection.disconnect();
        connection.socket?.destroy();
      };
      const inTime = async <T>(sent: Promise<T>): Promise<T> => {
        try {
          return await sent;
        } catch (error) {
          // A broker that does not answer in time is frozen or gone, and answers come in order: nothing else will come.
          if ((error as Error).name === 'KafkaJSRequestTimeoutError') await drop('A request timed out');
          throw error;
        }
      };
      const send = (request: object): Promise<unknown> => inTime(connection.send(request));
      const pool = singleConnectionPool(connection, settings, send, drop);
      const broker = new Broker({
        connectionPool: pool,
        logger: settings.logger,
        authenticationTimeout: settings.authenticationTimeoutMs,
        allowAutoTopicCreation: false,
      });
      return {
        requests: broker,
        get versions() {
          return broker.versions ?? {};
        },
        get isConnected() {
          return (
            ready && connection.isConnected() && (settings.sasl === undefined || connection.isAuthenticated())
          );
        },
        async connect() {
          // A broker that was away may have come back as another version.
          if (!connection.isConnected()) broker.versions = null;
          ready = false;
          try {
            await broker.connect();
            ready = true;
          } catch (error) {
            // A login that stopped half-way can't be begun again on the same connection.
            await drop('Connecting failed');
            throw error;
          }
        },
        send: (request) => inTime(sendFramed(connection, settings, request)),
        fetch: async <T>(request: FetchRequest, decode: (payload: Buffer) => T) =>
          (await send({
            ...makeFetch({ replicaId: -1, rackId: '', ...request }),
            response: responseOf(decode),
            requestTimeout: request.maxWaitTime + settings.requestTimeoutMs,
          })) as T,
        close: () => drop('The client was closed'),
      };
    },
  };
}

/** kafkajs' brokers expect a pool of two connections; ours has one, so that it is known what shares a connection. */
function singleConnectionPool(
  connection: KafkajsConnection,
  settings: ConnectionSettings,
  send: (request: object) => Promise<unknown>,
  drop: (reason: string) => Promise<void>,
): object {
  return {
    host: settings.host,
    port: settings.port,
    rack: null,
    sasl: settings.sasl,
    connectionTimeout: settings.connectionTimeoutMs,
    isConnected: () => connection.isConnected(),
    isAuthenticated: () => connection.isAuthenticated(),
    getConnection: async () => {
      if (!connection.isConnected()) await connection.connect();
      return connection;
    },
    setVersions: (versions: ApiVersionRanges) => {
      connection.setVersions(versions);
    },
    setSupportAuthenticationProtocol: (isSupported: boolean) => {
      connection.setSupportAuthenticationProtocol(isSupported);
    },
    send,
    destroy: () => drop('The connection was closed'),
  };
}

function connectionOptions(settings: ConnectionSettings): object {
  return {
    host: settings.host,
    port: settings.port,
    clientId: settings.clientId,
    ssl: settings.ssl ?? null,
    sasl: settings.sasl === undefined ? null : loginOptions(settings.sasl),
    connectionTimeout: settings.connectionTimeoutMs,
    requestTimeout: settings.requestTimeoutMs,
    enforceRequestTimeout: true,
    maxInFlightRequests: null,
    socketFactory: openSocket,
    logger: settings.logger,
  };
}

/**
 * kafkajs' own sending copies a request twice into zeroed buffers of the next power of two, which a megabyte of outputs
 * feels. The header is written before the body instead, and the queue does the rest as ever.
 */
async function sendFramed<T>(
  connection: KafkajsConnection,
  { clientId, sasl }: ConnectionSettings,
  request: WireRequest<T>,
): Promise<T> {
  if (sasl !== undefined && !connection.isAuthenticated()) await connection.authenticate();
  connection.failIfNotConnected();
  const { apiKey, apiVersion, apiName, body, requestTimeoutMs } = request;
  const correlationId = connection.nextCorrelationId();
  const pieces = body instanceof Uint8Array ? [body] : body;
  const header = requestHeader(request, correlationId, clientId);
  header.writeInt32BE(
    pieces.reduce((sum, { length }) => sum + length, header.length - 4),
    0,
  );
  const { payload } = await new Promise<{ readonly payload: Buffer }>((resolve, reject) => {
    connection.requestQueue.push({
      entry: { apiKey, apiName, apiVersion, correlationId, resolve, reject },
      expectResponse: true,
      requestTimeout: requestTimeoutMs ?? null,
      sendRequest: () => {
        connection.failIfNotConnected();
        const socket = connection.socket!;
        socket.cork();
        socket.write(header);
        for (const piece of pieces) socket.write(piece);
        socket.uncork();
      },
    });
  });
  return request.decode(payload);
}

/** Room for the length of all that follows, and the request header of version 1. */
function requestHeader(
  { apiKey, apiVersion }: WireRequest<unknown>,
  correlationId: number,
  clientId: string,
): Buffer {
  return new ByteWriter()
    .int32(0)
    .int16(apiKey)
    .int16(apiVersion)
    .int32(correlationId)
    .string(clientId)
    .finish();
}

/**
 * kafkajs' own sockets and framing allocate for each read, and again for each answer, and a process that only passes bytes
 * on then spends its time collecting them. Here a socket reads into one buffer for ever, if it is a plain one, and
 * answers are put together by `answer-assembler.ts`.
 */
function readInPlace(connection: KafkajsConnection, { reusesAnswers }: ConnectionSettings): void {
  const assembler = new AnswerAssembler(reusesAnswers, (answer) => {
    connection.requestQueue.fulfillRequest({
      size: answer.length,
      correlationId: answer.readInt32BE(0),
      payload: answer.subarray(4),
    });
  });
  const processData = connection.processData.bind(connection);
  let socket = connection.socket;
  connection.processData = (bytes) => {
    // A login by the oldest handshake has a framing of its own.
    if (connection.authHandlers !== null) {
      processData(Buffer.from(bytes));
      return;
    }
    if (connection.socket !== socket) {
      socket = connection.socket;
      assembler.reset();
    }
    try {
      assembler.push(bytes);
    } catch (error) {
      connection.rejectRequests(error as Error);
      connection.socket?.destroy();
    }
  };
}

function openSocket({ host, port, ssl, onConnect }: SocketRequest): Socket {
  const socket =
    ssl === null
      ? connectPlainly(host, port, onConnect)
      : connectTls({ host, port, ...(isIP(host) === 0 ? { servername: host } : {}), ...ssl }, onConnect);
  return socket.setKeepAlive(true, KEEP_ALIVE_MS);
}

interface SocketRequest {
  readonly host: string;
  readonly port: number;
  readonly ssl: ConnectionOptions | null;
  readonly onConnect: () => void;
}

/** What it reads is told as data that holds until the listener returns. */
function connectPlainly(host: string, port: number, onConnect: () => void): Socket {
  const onread = {
    buffer: Buffer.allocUnsafeSlow(READ_BYTES),
    callback: (count: number, bytes: Uint8Array): boolean => {
      socket.emit('data', Buffer.from(bytes.buffer, bytes.byteOffset, count));
      return true;
    },
  };
  const socket = connectTcp({ host, port, onread }, onConnect);
  return socket;
}

/**
 * kafkajs 2.2.4 looks for requests that are held back every millisecond, for ever, on every connection, also if there are
 * none: a tenth of a core for an idle client. It looks for those that have timed out ten times a second.
 */
function quietly(queue: KafkajsRequestQueue): void {
  queue.scheduleCheckPendingRequests = () => {
    if (queue.pending.length === 0 || queue.throttleCheckTimeoutId !== null) return;
    const ms = Math.max(HELD_BACK_CHECK_MS, queue.throttledUntil - Date.now());
    queue.throttleCheckTimeoutId = setTimeout(() => {
      queue.throttleCheckTimeoutId = null;
      queue.checkPendingRequests();
    }, ms);
  };
  queue.scheduleRequestTimeoutCheck = () => {
    clearInterval(queue.requestTimeoutIntervalId);
    queue.requestTimeoutIntervalId = setInterval(() => {
      const now = Date.now();
      for (const request of queue.inflight.values())
        if (now - request.sentAt > request.requestTimeout) request.timeoutRequest();
      if (!queue.isConnected()) clearInterval(queue.requestTimeoutIntervalId);
    }, TIMEOUT_CHECK_MS);
  };
}

function responseOf(decode: (payload: Buffer) => unknown): object {
  return { decode: async (payload: Buffer) => decode(payload), parse: async (decoded: unknown) => decoded };
}
