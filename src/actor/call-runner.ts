/**
 * Runs commands and queries on one actor. A command is atomic: it runs under its own savepoint, and one that fails leaves no
 * trace and rejects that command only; a query sees the stores and changes nothing. In which order they come, and when a
 * command is acknowledged, is `processing-loop.ts` and `call-queue.ts`.
 */
import type { Clock } from '../core/clock.js';
import { Deadline } from '../core/deadline.js';
import { describeError, isPartitaError, PartitaError } from '../core/errors.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import { RecordScope } from '../state/record-scope.js';
import type { StateStore } from '../state/state-store.js';
import type { ActorSpec, CommandCall, QueryCall } from '../threads/protocol.js';
import type { CallMark } from './call-mark.js';
import { isFatal, throwIfFailed } from './error-policy.js';
import type { HandlerContexts } from './handler-contexts.js';
import type { LateEvents } from './late-events.js';
import type { OutputBatches } from './output-batches.js';

export interface CallRunnerOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly config: unknown;
  readonly state: StateStore | undefined;
  readonly clock: Clock;
  readonly mark: CallMark;
  /** Of commands. */
  readonly contexts: HandlerContexts;
  /** Of commands. */
  readonly outputs: OutputBatches;
  readonly lates: LateEvents | undefined;
}

export class CallRunner {
  readonly #options: CallRunnerOptions;

  constructor(options: CallRunnerOptions) {
    this.#options = options;
  }

  /** Rejects with the command's error after rolling it back, or with what ends the actor (`StateStore.failure`). */
  async command(call: CommandCall): Promise<unknown> {
    const { state, definition, spec, clock, contexts, outputs, lates } = this.#options;
    const handler = handlerNamed(definition.commands, call.name);
    if (handler === undefined)
      throw new PartitaError('UNKNOWN_COMMAND', `The stream ${spec.id.stream} has no command ${call.name}.`);
    state?.savepoint();
    const lateBefore = lates?.count ?? 0;
    outputs.mark(clock.now());
    const { scope, context } = contexts.current;
    scope.timestamp = clock.now();
    scope.dueAtMs = Infinity;
    scope.open = true;
    try {
      const result: unknown = await handler(context, call.key, ...call.args);
      expectCloneable(result);
      if (lates !== undefined && state?.events.any === true) await this.#tellUpdates(lates);
      return result;
    } catch (error) {
      state?.rollback();
      if (lates !== undefined) lates.count = lateBefore;
      outputs.rollback();
      if (isFatal(error)) throw error;
      throw callFailed('command', call.name, spec, error);
    } finally {
      // What the command left behind may still hold it.
      contexts.renew();
      if (state !== undefined) throwIfFailed(state);
    }
  }

  async query(call: QueryCall): Promise<unknown> {
    const { state, definition, spec, config, clock } = this.#options;
    const handler = handlerNamed(definition.queries, call.name);
    if (handler === undefined)
      throw new PartitaError('UNKNOWN_QUERY', `The stream ${spec.id.stream} has no query ${call.name}.`);
    const scope = new RecordScope();
    scope.open = true;
    const stores = state?.queryViews(call.read, scope) ?? {};
    try {
      const answer: unknown = handler(
        { stores, config, partition: spec.id.partition },
        call.key,
        ...call.args,
      );
      if (call.timeoutMs === undefined || !(answer instanceof Promise)) return await answer;
      // Records of a processor with asynchronous handlers wait for it.
      const what = `The query ${call.name} of ${spec.id.stream}-${String(spec.id.partition)}`;
      return await Deadline.after(clock, call.timeoutMs).race(answer, what);
    } catch (error) {
      throw callFailed('query', call.name, spec, error);
    } finally {
      scope.open = false;
    }
  }

  /** What its windows have to say is the command's, what was late too: all of it is undone with it. */
  async #tellUpdates(lates: LateEvents): Promise<void> {
    const { contexts, definition, mark } = this.#options;
    const { context } = contexts.current;
    await contexts.tellUpdates(context);
    for (const { store, late } of lates.take()) {
      mark.beat();
      await definition.onLate?.[store]?.(lates.located(late, undefined), context);
      // What it adds in turn is this command's too.
      await contexts.tellUpdates(context);
    }
  }
}

/** The handler that the processor itself declares under this name. */
function handlerNamed(
  handlers: AnyDefinition['commands'],
  name: string,
): NonNullable<AnyDefinition['commands']>[string] | undefined {
  return handlers !== undefined && Object.hasOwn(handlers, name) ? handlers[name] : undefined;
}

/** What the caller of a command or query gets for what its handler threw. */
function callFailed(
  kind: 'command' | 'query',
  name: string,
  { id }: ActorSpec,
  error: unknown,
): PartitaError {
  if (isPartitaError(error)) return error;
  return new PartitaError('HANDLER_FAILED', `The ${kind} ${name} failed: ${describeError(error)}`, {
    cause: error,
    details: { [kind]: name, ...id },
  });
}

/** @throws DataCloneError for what can't cross to the caller: found here, it is the command's error alone. */
function expectCloneable(result: unknown): void {
  if (
    typeof result === 'object' ? result !== null : typeof result === 'function' || typeof result === 'symbol'
  )
    structuredClone(result);
}
