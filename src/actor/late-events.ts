/**
 * Events that missed a window which had closed before they came: counts them, and hands them to the processor's `onLate`, each
 * call under its own savepoint and under the error policy. It finds none itself (the windowed stores do) and never advances a
 * lane; who has it told, after which record or call, is `record-processor.ts`, `call-runner.ts` and `due-runner.ts`.
 */
import { describeError, PartitaError } from '../core/errors.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import type { StateStore } from '../state/state-store.js';
import type { LateUpdate } from '../state/window-events.js';
import type { ActorSpec } from '../threads/protocol.js';
import type { CallMark } from './call-mark.js';
import { isFatal, throwIfFailed, type ErrorHandling } from './error-policy.js';
import type { HandlerContexts } from './handler-contexts.js';
import type { InputLane } from './input-lane.js';
import type { OutputBatches } from './output-batches.js';

/** Calls of onLate that one record may cause, so that a handler that adds late events itself ends. */
const LATES_MAX = 100_000;

export interface LateEventsOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly state: StateStore;
  readonly mark: CallMark;
  readonly errors: ErrorHandling;
}

/** An event, with where it came from. */
export type LocatedEvent = Readonly<Record<string, unknown>>;

export class LateEvents {
  /** Events that missed a window. */
  count = 0;
  /** Calls that failed and were skipped. */
  skipped = 0;
  readonly #options: LateEventsOptions;

  constructor(options: LateEventsOptions) {
    this.#options = options;
  }

  /** Each call under its own savepoint; what one adds late in turn is told too, up to a bound. */
  async tell(contexts: HandlerContexts, outputs: OutputBatches, lane: InputLane | undefined): Promise<void> {
    const { state, definition, mark } = this.#options;
    for (const { store, late, keyBytes } of this.take()) {
      const handler = definition.onLate?.[store];
      if (handler === undefined) continue;
      const timestamp = late['timestamp'] as number;
      const located = this.located(late, lane);
      state.savepoint();
      outputs.mark(timestamp);
      const { scope, context } = contexts.current;
      scope.timestamp = timestamp;
      scope.dueAtMs = Infinity;
      scope.open = true;
      mark.beat();
      try {
        await handler(located, context);
        await contexts.tellUpdates(context);
      } catch (error) {
        contexts.renew();
        await this.#failed(store, located, keyBytes, outputs, error);
        continue;
      }
      contexts.renew();
      throwIfFailed(state);
    }
  }

  /** One after the other, also those that come while they are told, up to a bound. */
  *take(): Generator<LateUpdate, void> {
    const { lates } = this.#options.state.events;
    for (let told = 0; lates.length > 0 && told < LATES_MAX; told++) {
      this.count++;
      yield lates.shift()!;
    }
    lates.length = 0;
  }

  /** A missed event with where it came from; of a command, a timer or a closing it came from no record. */
  located(late: Readonly<Record<string, unknown>>, lane: InputLane | undefined): LocatedEvent {
    const { partition } = this.#options.spec.id;
    return { ...late, topic: lane?.spec.topic, partition, offset: lane?.reader.offset };
  }

  /** Rolls the call back, not what else is late, and does what the policy says. */
  async #failed(
    store: string,
    located: LocatedEvent,
    keyBytes: () => Uint8Array,
    outputs: OutputBatches,
    error: unknown,
  ): Promise<void> {
    const { state, spec, errors } = this.#options;
    throwIfFailed(state);
    if (isFatal(error)) throw error;
    const { lates } = state.events;
    const kept = lates.slice();
    state.rollback();
    lates.push(...kept);
    outputs.rollback();
    const { partition } = spec.id;
    const timestamp = located['timestamp'] as number;
    const topic = located['topic'] as string | undefined;
    const offset = located['offset'] as number | undefined;
    const decision = errors.decide(error, {
      origin: 'late',
      name: store,
      topic,
      partition,
      offset,
      timestamp,
    });
    if (decision === 'fail')
      throw new PartitaError(
        'HANDLER_FAILED',
        `onLate of the store ${store} of ${spec.id.stream}-${String(partition)} failed: ${describeError(error)}`,
        { cause: error, details: { store, topic, partition, offset } },
      );
    this.skipped++;
    if (decision === 'skip') return;
    const record = { timestamp, key: keyBytes(), value: Buffer.from(JSON.stringify(located)), headers: [] };
    const origin = { 'partita.late': store, 'partita.partition': String(partition) };
    await errors.deadLetter(outputs, decision.deadLetter, record, origin, error);
  }
}
