/**
 * What becomes of a call of the user's that failed: what the processor's `onError` says, and the dead letter that it may
 * ask for. It never rolls back and never advances; `record-processor.ts` and `due-runner.ts` do.
 */
import { describeError, isPartitaError, PartitaError, type ErrorCode } from '../core/errors.js';
import type { AnyDefinition, ErrorDecision, FailedRecord } from '../processor/define-processor.js';
import type { StateStore } from '../state/state-store.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';
import type { OutputBatches, RawRecord } from './output-batches.js';

/** Errors of the house, not of the handler: they end the actor whatever the handler did with them. */
const FATAL_CODES: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'ENGINE_FAILED',
  'ENGINE_CLOSED',
  'CORRUPT',
  'DISK_FULL',
  'FENCED',
  'ILLEGAL_STATE',
  'TRANSACTION_CLOSED',
  'RECORD_BATCH_CORRUPT',
]);

export function isFatal(error: unknown): boolean {
  return isPartitaError(error) && FATAL_CODES.has(error.code);
}

/** What failed the state ends the actor, whatever a handler made of the error. */
export function throwIfFailed({ failure }: StateStore): void {
  if (failure !== undefined) throw failure;
}

export interface ErrorPolicyOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly uplink: ActorUplink;
}

export class ErrorHandling {
  readonly #options: ErrorPolicyOptions;

  constructor(options: ErrorPolicyOptions) {
    this.#options = options;
  }

  /** What the policy says; one that throws or says nothing fails the partition, with the record's error. */
  decide(error: unknown, record: FailedRecord): ErrorDecision {
    const { spec, uplink, definition } = this.#options;
    const policy = definition.onError ?? 'fail';
    if (typeof policy !== 'function') return policy;
    let why: string;
    try {
      const decision: unknown = policy(error, record);
      if (isDecision(decision)) return decision;
      why = 'did not return a decision';
    } catch (thrown) {
      why = `threw: ${describeError(thrown)}`;
    }
    uplink.event({
      type: 'warning',
      message: `The error policy of ${spec.id.stream} ${why}; the partition fails.`,
      details: { ...spec.id, ...record },
    });
    return 'fail';
  }

  /** Emits to the dead-letter topic, with its origin in headers. Rejects TOPIC_MISSING. */
  async deadLetter(
    outputs: OutputBatches,
    topic: string,
    record: RawRecord,
    origin: Readonly<Record<string, string>>,
    error: unknown,
  ): Promise<void> {
    const { spec, uplink } = this.#options;
    const output =
      spec.deadLetters.find((known) => known.topic === topic) ?? (await uplink.describeTopic(topic));
    if (output === undefined)
      throw new PartitaError('TOPIC_MISSING', `The dead letter topic ${topic} does not exist.`, {
        cause: error,
        details: { topic },
      });
    outputs.emitRaw(output, {
      ...record,
      headers: [
        ...record.headers,
        ['partita.stream', spec.id.stream],
        ...Object.entries(origin),
        ['partita.error.code', isPartitaError(error) ? error.code : 'HANDLER_FAILED'],
        ['partita.error.message', describeError(error).slice(0, 1000)],
      ],
    });
  }
}

function isDecision(decision: unknown): decision is ErrorDecision {
  if (decision === 'fail' || decision === 'skip') return true;
  return typeof (decision as { readonly deadLetter?: unknown } | undefined | null)?.deadLetter === 'string';
}
