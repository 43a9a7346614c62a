/**
 * The contexts that handlers are given: stores, emit, schedule, config, and the scope that ends them. One context serves record after
 * record, until a handler is asynchronous: what such a handler left behind may still hold it, so it is not used again.
 * It also tells handlers what windowed stores have to say about the call under way.
 */
import { PartitaError } from '../core/errors.js';
import type { AnyDefinition, WindowHandler } from '../processor/define-processor.js';
import type { EventClock } from '../state/event-clock.js';
import { RecordScope } from '../state/record-scope.js';
import type { StateStore } from '../state/state-store.js';
import type { ActorSpec } from '../threads/protocol.js';
import type { CallMark } from './call-mark.js';
import type { OutputBatches } from './output-batches.js';

/** Updates that one record may cause, so that a handler of a store which adds to that store ends. */
const UPDATES_MAX = 1_000_000;

export interface HandlerContext {
  readonly scope: RecordScope;
  readonly context: object;
}

export interface HandlerContextsOptions {
  readonly spec: ActorSpec;
  readonly definition: AnyDefinition;
  readonly config: unknown;
  readonly state: StateStore | undefined;
  readonly signal: AbortSignal;
  readonly outputs: OutputBatches;
  readonly eventClock: EventClock;
  readonly mark: CallMark;
}

export class HandlerContexts {
  readonly #options: HandlerContextsOptions;
  readonly #handlers = new Map<string, WindowHandler>();
  #current: HandlerContext;

  constructor(options: HandlerContextsOptions) {
    this.#options = options;
    for (const [store, handler] of Object.entries(options.definition.windows ?? {}))
      this.#handlers.set(store, asFunction(handler));
    this.#current = this.#make();
  }

  /** The one in use. */
  get current(): HandlerContext {
    return this.#current;
  }

  /** What a window's result is handed to; `undefined`: nobody listens. */
  windowHandler(store: string): WindowHandler | undefined {
    return this.#handlers.get(store);
  }

  /** The next call gets another one. */
  renew(): void {
    this.#current.scope.open = false;
    this.#current = this.#make();
  }

  /** Hands the changed windows of the call under way to their handlers, inside the call's own savepoint. */
  tellUpdates(context: object): void | Promise<void> {
    const { events } = this.#options.state!;
    const { stores, windows } = events;
    for (let i = 0; i < windows.length; i++) {
      const result = this.#handlers.get(stores[i]!)?.(windows[i], context);
      if (isPromise(result)) return this.#tellAsync(context, i + 1, result);
      if (i >= UPDATES_MAX) throw tooMany(stores[i]!);
    }
    events.clearUpdates();
  }

  async #tellAsync(context: object, from: number, first: Promise<unknown>): Promise<void> {
    const { events } = this.#options.state!;
    const { stores, windows } = events;
    await first;
    for (let i = from; i < windows.length; i++) {
      this.#options.mark.beat();
      await this.#handlers.get(stores[i]!)?.(windows[i], context);
      if (i >= UPDATES_MAX) throw tooMany(stores[i]!);
    }
    events.clearUpdates();
  }

  #make(): HandlerContext {
    const { state, config, spec, signal, outputs } = this.#options;
    const scope = new RecordScope();
    const stores = state?.views(scope) ?? {};
    const schedule = state?.schedules(scope) ?? {};
    const emit = outputs.emits(scope);
    const { partition } = spec.id;
    const { eventClock } = this.#options;
    const context = {
      stores,
      emit,
      schedule,
      config,
      partition,
      signal,
      get watermark() {
        return eventClock.ms;
      },
    };
    return { scope, context: Object.freeze(context) };
  }
}

export function isPromise(value: unknown): value is Promise<unknown> {
  return typeof (value as { readonly then?: unknown } | undefined | null)?.then === 'function';
}

/** An output's name instead of a function: the result is emitted there, its window in the headers. */
function asFunction(handler: WindowHandler | string): WindowHandler {
  if (typeof handler !== 'string') return handler;
  return (window, context) => {
    const { key, startMs, endMs, result, closed } = window as WindowFields;
    const { emit } = context as { readonly emit: Readonly<Record<string, EmitWindow>> };
    emit[handler]!(key, result, {
      headers: {
        'partita.window.start': String(startMs),
        'partita.window.end': String(endMs),
        'partita.window.closed': String(closed),
      },
    });
  };
}

interface WindowFields {
  readonly key: unknown;
  readonly startMs: number;
  readonly endMs: number;
  readonly result: unknown;
  readonly closed: boolean;
}
type EmitWindow = (
  key: unknown,
  value: unknown,
  options: { readonly headers: Readonly<Record<string, string>> },
) => void;

function tooMany(store: string): PartitaError {
  return new PartitaError(
    'INVALID_PROCESSOR',
    `One record changed more than ${String(UPDATES_MAX)} windows; does the handler of the store ${store} add to it?`,
    { details: { store } },
  );
}
