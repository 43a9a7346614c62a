/**
 * What kafkajs and brokers answer, told apart by meaning: gone connections, leaders and coordinators that have moved,
 * refusals for good. Makes PartitaErrors of them, naming what was asked; never retries itself (`cluster.ts` does).
 */
import { describeError, isPartitaError, PartitaError, type ErrorCode } from '../../core/errors.js';

/** Kafka's name of the error, where a broker answered one. */
export function kafkaType(error: unknown): string | undefined {
  const type = (error as { readonly type?: unknown } | null | undefined)?.type;
  return typeof type === 'string' ? type : undefined;
}

/** A broker's answer as an error with its type. */
export class BrokerAnswerError extends Error {
  readonly type: string;

  constructor(type: string, message: string | null | undefined) {
    super(message ?? `the broker answered ${type}.`);
    this.name = 'BrokerAnswerError';
    this.type = type;
  }
}

const CONNECTION_ERRORS: ReadonlySet<string> = new Set([
  'KafkaJSConnectionError',
  'KafkaJSConnectionClosedError',
  'KafkaJSRequestTimeoutError',
  'KafkaJSLockTimeout',
  'KafkaJSInvariantViolation',
]);

/** No answer: whether the request was carried out is not known. */
export function isConnectionError(error: unknown): boolean {
  return CONNECTION_ERRORS.has((error as Error | undefined)?.name ?? '');
}

/** The partition is, or will be, led by another broker than was asked, or by none at present. */
const LEADER_ERRORS: ReadonlySet<string> = new Set([
  'UNKNOWN_TOPIC_OR_PARTITION',
  'LEADER_NOT_AVAILABLE',
  'NOT_LEADER_FOR_PARTITION',
  'BROKER_NOT_AVAILABLE',
  'REPLICA_NOT_AVAILABLE',
  'KAFKA_STORAGE_ERROR',
  'FENCED_LEADER_EPOCH',
  'UNKNOWN_LEADER_EPOCH',
  'LISTENER_NOT_FOUND',
]);

const COORDINATOR_ERRORS: ReadonlySet<string> = new Set([
  'GROUP_COORDINATOR_NOT_AVAILABLE',
  'NOT_COORDINATOR_FOR_GROUP',
  'NOT_CONTROLLER',
]);

/** The same request to the same broker will do in a moment. */
const PASSING_ERRORS: ReadonlySet<string> = new Set([
  'REQUEST_TIMED_OUT',
  'NETWORK_EXCEPTION',
  'NOT_ENOUGH_REPLICAS',
  'NOT_ENOUGH_REPLICAS_AFTER_APPEND',
  'GROUP_LOAD_IN_PROGRESS',
  'OFFSET_NOT_AVAILABLE',
  'UNSTABLE_OFFSET_COMMIT',
  'CONCURRENT_TRANSACTIONS',
]);

export function isLeaderError(error: unknown): boolean {
  return LEADER_ERRORS.has(kafkaType(error) ?? '');
}

export function isCoordinatorError(error: unknown): boolean {
  return COORDINATOR_ERRORS.has(kafkaType(error) ?? '');
}

/** Whether asking again, perhaps another broker, may succeed. */
export function isRetriable(error: unknown): boolean {
  if (isPartitaError(error)) return error.retryable;
  const type = kafkaType(error);
  if (type === undefined) return isConnectionError(error);
  return LEADER_ERRORS.has(type) || COORDINATOR_ERRORS.has(type) || PASSING_ERRORS.has(type);
}

/** TLS and certificate errors of Node, by their codes' beginnings. */
const TLS_CODES = /^(ERR_TLS|ERR_SSL|CERT_|DEPTH_ZERO|SELF_SIGNED|UNABLE_TO_|HOSTNAME_MISMATCH)/;

export function isAuthenticationError(error: unknown): boolean {
  const { name, code } = (error ?? {}) as { readonly name?: string; readonly code?: unknown };
  if (name === 'KafkaJSSASLAuthenticationError') return true;
  if (typeof code === 'string' && TLS_CODES.test(code)) return true;
  return AUTHENTICATION_ERRORS.has(kafkaType(error) ?? '');
}

const AUTHENTICATION_ERRORS: ReadonlySet<string> = new Set([
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
  'SECURITY_DISABLED',
  // Also of a listener that knows no SASL, and of one that demands it.
  'ILLEGAL_SASL_STATE',
]);

/** Nobody listens there, or the way there is unknown: no option of security has to do with it. */
const NOBODY_CODES: ReadonlySet<unknown> = new Set([
  'ECONNREFUSED',
  'ENOTFOUND',
  'EAI_AGAIN',
  'EHOSTUNREACH',
  'ENETUNREACH',
]);

/** Whether somebody may have accepted the connection and then closed it, or kept silent. */
export function isCutOff(error: unknown): boolean {
  return isConnectionError(error) && !NOBODY_CODES.has((error as { readonly code?: unknown }).code);
}

const CODES: Readonly<Record<string, ErrorCode>> = {
  UNKNOWN_TOPIC_OR_PARTITION: 'TOPIC_MISSING',
  OFFSET_OUT_OF_RANGE: 'OFFSET_OUT_OF_RANGE',
  MESSAGE_TOO_LARGE: 'RECORD_TOO_LARGE',
  RECORD_LIST_TOO_LARGE: 'RECORD_TOO_LARGE',
  INVALID_TIMESTAMP: 'TIMESTAMP_OUT_OF_RANGE',
  CORRUPT_MESSAGE: 'RECORD_BATCH_CORRUPT',
  INVALID_RECORD: 'POLICY_VIOLATION',
  POLICY_VIOLATION: 'POLICY_VIOLATION',
  TOPIC_AUTHORIZATION_FAILED: 'LOG_AUTHORIZATION_FAILED',
  GROUP_AUTHORIZATION_FAILED: 'LOG_AUTHORIZATION_FAILED',
  CLUSTER_AUTHORIZATION_FAILED: 'LOG_AUTHORIZATION_FAILED',
  TRANSACTIONAL_ID_AUTHORIZATION_FAILED: 'LOG_AUTHORIZATION_FAILED',
  UNSUPPORTED_VERSION: 'LOG_UNSUPPORTED',
  UNSUPPORTED_COMPRESSION_TYPE: 'COMPRESSION_UNAVAILABLE',
  INVALID_TOPIC_EXCEPTION: 'TOPIC_INVALID',
  INVALID_PARTITIONS: 'TOPIC_INVALID',
  INVALID_REPLICATION_FACTOR: 'TOPIC_INVALID',
  INVALID_REPLICA_ASSIGNMENT: 'TOPIC_INVALID',
  INVALID_CONFIG: 'TOPIC_INVALID',
  INCONSISTENT_GROUP_PROTOCOL: 'GROUP_INVALID',
  INVALID_GROUP_ID: 'GROUP_INVALID',
  GROUP_MAX_SIZE_REACHED: 'GROUP_INVALID',
  INVALID_SESSION_TIMEOUT: 'INVALID_OPTIONS',
  INVALID_TRANSACTION_TIMEOUT: 'INVALID_OPTIONS',
};

/** What to do, where the brokers' own sentence does not name the option or the topic's config. */
const REMEDIES: Readonly<Record<string, string>> = {
  INVALID_SESSION_TIMEOUT:
    'set `sessionTimeoutMs` within group.min.session.timeout.ms and group.max.session.timeout.ms of the brokers',
  INVALID_TRANSACTION_TIMEOUT:
    '`transactionTimeoutMs` must not be above transaction.max.timeout.ms of the brokers',
};

/**
 * A PartitaError of whatever was thrown. @param what what was asked, as the beginning of a sentence: "Producing to t-0"
 */
export function toPartitaError(
  error: unknown,
  what: string,
  details: Readonly<Record<string, unknown>> = {},
): PartitaError {
  if (isPartitaError(error)) return error;
  const type = kafkaType(error);
  const code = isAuthenticationError(error)
    ? 'LOG_AUTHENTICATION_FAILED'
    : ((type === undefined ? undefined : CODES[type]) ?? 'LOG_UNAVAILABLE');
  const said = describeError(error).replace(/\.$/, '');
  const suffix = type === undefined || said.includes(type) ? '' : ` (${type})`;
  const remedy = type === undefined ? undefined : REMEDIES[type];
  const advice = remedy === undefined ? '' : `; ${remedy}`;
  return new PartitaError(code, `${what} failed: ${said}${suffix}${advice}.`, {
    cause: error,
    details: { ...details, ...(type === undefined ? {} : { kafka: type }) },
  });
}
