/**
 * The one error class of Partita and its closed table of codes. Callers branch on `code`; messages are sentences that
 * name topic, partition and offset; `cause` is kept, also across threads (see `threads/wire-error.ts`).
 */

/**
 * Every code that Partita throws or rejects with. `retryable`: the same call may succeed later without a change.
 * `mendable: false`: an actor that ended by it would meet the same again if it were opened anew, with the same files, log and
 * declarations; so its partition fails at once instead of being restarted. `'once'`: what the log refuses for good; a new actor
 * sees the topics' limits as they are now, and is refused again if that was not it.
 */
export const ERROR_CODES = {
  // What the caller passed.
  INVALID_OPTIONS: { retryable: false, mendable: false },
  INVALID_NAME: { retryable: false, mendable: false },
  INVALID_PROCESSOR: { retryable: false, mendable: false },
  INVALID_ARGUMENT: { retryable: false, mendable: false },
  // Bytes and values.
  SERDE_FAILED: { retryable: false, mendable: false },
  RECORD_BATCH_CORRUPT: { retryable: false },
  RECORD_TOO_LARGE: { retryable: false, mendable: false },
  TIMESTAMP_OUT_OF_RANGE: { retryable: false, mendable: false },
  COMPRESSION_UNAVAILABLE: { retryable: false, mendable: false },
  // Lifecycles and transactions.
  ILLEGAL_STATE: { retryable: false },
  TRANSACTION_CLOSED: { retryable: false },
  RECORD_CLOSED: { retryable: false },
  HANDLER_FAILED: { retryable: false },
  POISON_RECORD: { retryable: false, mendable: false },
  // Storage.
  ENGINE_UNAVAILABLE: { retryable: false, mendable: false },
  ENGINE_FAILED: { retryable: true },
  ENGINE_CLOSED: { retryable: false },
  LOCKED: { retryable: true },
  CORRUPT: { retryable: false },
  DISK_FULL: { retryable: true },
  OFFSET_BACKWARDS: { retryable: false },
  STORE_INCOMPATIBLE: { retryable: false, mendable: false },
  // The log.
  TOPIC_MISSING: { retryable: false, mendable: 'once' },
  TOPIC_EXISTS: { retryable: false },
  TOPIC_INVALID: { retryable: false, mendable: false },
  PARTITIONS_UNEQUAL: { retryable: false },
  PARTITIONS_CHANGED: { retryable: false, mendable: false },
  OFFSET_OUT_OF_RANGE: { retryable: false, mendable: false },
  POLICY_VIOLATION: { retryable: false },
  LOG_UNAVAILABLE: { retryable: true },
  LOG_UNSUPPORTED: { retryable: false, mendable: false },
  LOG_AUTHENTICATION_FAILED: { retryable: false, mendable: false },
  LOG_AUTHORIZATION_FAILED: { retryable: false, mendable: 'once' },
  GROUP_INVALID: { retryable: false, mendable: false },
  LOG_LOCKED: { retryable: true },
  LOG_CLOSED: { retryable: false, mendable: false },
  FENCED: { retryable: false },
  COMMIT_IN_DOUBT: { retryable: true },
  COMMIT_REJECTED: { retryable: false, mendable: 'once' },
  // Recovery.
  CHANGELOG_INVALID: { retryable: false, mendable: 'once' },
  CHANGELOG_BLOCKED: { retryable: true },
  STATE_MISSING: { retryable: false, mendable: false },
  OFFSETS_MOVED: { retryable: false, mendable: false },
  // Calls and routing.
  PARTITION_NOT_OWNED: { retryable: true },
  ACTOR_RECOVERING: { retryable: true },
  ACTOR_RESTARTED: { retryable: true },
  ACTOR_FAILED: { retryable: false },
  ACTOR_STUCK: { retryable: true },
  THREAD_DIED: { retryable: true },
  MAILBOX_FULL: { retryable: true },
  CALL_TIMEOUT: { retryable: true },
  CALL_ABORTED: { retryable: false },
  UNKNOWN_QUERY: { retryable: false },
  UNKNOWN_COMMAND: { retryable: false },
  STOPPED: { retryable: false },
  STOP_DEADLINE: { retryable: false },
} as const satisfies Record<string, { readonly retryable: boolean; readonly mendable?: false | 'once' }>;

export type ErrorCode = keyof typeof ERROR_CODES;

/** Facts beside the message, structured-cloneable: topic, partition, offset, store, outcome, and so on. */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/** The error that Partita throws. */
export class PartitaError extends Error {
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown; details?: ErrorDetails }) {
    super(message, options !== undefined && 'cause' in options ? { cause: options.cause } : undefined);
    this.name = 'PartitaError';
    this.code = code;
    this.details = options?.details ?? {};
  }

  /** Whether the same call may succeed later without a change. */
  get retryable(): boolean {
    return ERROR_CODES[this.code].retryable;
  }
}

/** Whether `error` is a PartitaError, of the given code if one is named. */
export function isPartitaError(error: unknown, code?: ErrorCode): error is PartitaError {
  return error instanceof PartitaError && (code === undefined || error.code === code);
}

/** Whether an actor that ended by it may get further when it is opened anew. */
export function mendability(error: unknown): boolean | 'once' {
  if (!(error instanceof PartitaError)) return true;
  const entry: { readonly mendable?: false | 'once' } & { readonly retryable: boolean } =
    ERROR_CODES[error.code];
  return entry.mendable ?? true;
}

/** A short text for any thrown value. */
export function describeError(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
