/**
 * Calls over a MessagePort, by comlink: one side serves an object of methods, the other calls them. Owns the pending
 * calls of a port, so that each settles when the other side dies, and the transfer of errors with code and causes.
 * Knows nothing of actors: that is `host-link.ts` on the main thread and `host-endpoint.ts` in the worker.
 */
import * as comlink from 'comlink';
import nodeEndpointModule from 'comlink/dist/umd/node-adapter.js';
import type { MessagePort } from 'node:worker_threads';
import { decodeError, encodeError, type WireError } from './wire-error.js';

// The adapter is CommonJS: its function is the namespace itself or its `default`, by the loader.
type NodeEndpoint = (port: MessagePort) => comlink.Endpoint;
const nodeEndpoint: NodeEndpoint =
  typeof nodeEndpointModule === 'function'
    ? nodeEndpointModule
    : (nodeEndpointModule as unknown as { readonly default: NodeEndpoint }).default;

interface Thrown {
  readonly value: unknown;
}

/** What comlink's own handler writes, with our wire form beside it: a peer without our handler still understands it. */
interface ThrownOnWire {
  readonly isError: boolean;
  readonly value: unknown;
  readonly partita?: WireError;
}

let handlerInstalled = false;

/** Replaces comlink's `throw` handler, keeping its recogniser; errors of others keep their form. */
function installThrowHandler(): void {
  if (handlerInstalled) return;
  handlerInstalled = true;
  const own = comlink.transferHandlers.get('throw') as comlink.TransferHandler<Thrown, ThrownOnWire>;
  const handler: comlink.TransferHandler<Thrown, ThrownOnWire> = {
    canHandle: (value): value is Thrown => own.canHandle(value),
    serialize: (thrown) => {
      const wire = encodeError(thrown.value);
      const plain =
        wire.kind === 'value'
          ? { isError: false, value: wire.value }
          : {
              isError: true,
              value: { message: wire.message, name: nameOf(thrown.value), stack: wire.stack },
            };
      return [{ ...plain, partita: wire }, []];
    },
    deserialize: (thrown) => {
      if (thrown.partita === undefined) return own.deserialize(thrown);
      throw decodeError(thrown.partita);
    },
  };
  comlink.transferHandlers.set('throw', handler);
}

function nameOf(error: unknown): string {
  return error instanceof Error ? error.name : 'Error';
}

/* eslint-disable @typescript-eslint/no-explicit-any -- any methods at all */
export type Methods<M> = { readonly [N in keyof M]: (...args: any[]) => any };
/* eslint-enable @typescript-eslint/no-explicit-any */

/** Serves `methods` on the port; results may be promises. */
export function serve<M extends Methods<M>>(port: MessagePort, methods: M): void {
  installThrowHandler();
  comlink.expose(methods, nodeEndpoint(port));
}

/** Marks the buffers as transferred with the value when it is passed to, or returned from, a call. */
export function transferring<T extends object>(value: T, buffers: Iterable<ArrayBuffer>): T {
  const distinct = new Set<ArrayBuffer>();
  for (const buffer of buffers) if (buffer.byteLength > 0) distinct.add(buffer);
  return distinct.size === 0 ? value : comlink.transfer(value, [...distinct]);
}

/** The calling side of a port. Every call settles: `fail` rejects those that are under way, and all later ones. */
export class Caller<M extends Methods<M>> {
  readonly #port: MessagePort;
  readonly #root: Record<string, (...args: unknown[]) => Promise<unknown>>;
  // A property of a comlink proxy is a new proxy each time; the calls of the hot path reuse one.
  readonly #methods = new Map<string, (...args: unknown[]) => Promise<unknown>>();
  readonly #pending = new Set<(error: Error) => void>();
  #failure: (() => Error) | undefined;

  constructor(port: MessagePort) {
    installThrowHandler();
    this.#port = port;
    this.#root = comlink.wrap(nodeEndpoint(port)) as unknown as Record<
      string,
      (...args: unknown[]) => Promise<unknown>
    >;
  }

  get pending(): number {
    return this.#pending.size;
  }

  call<N extends keyof M & string>(name: N, ...args: Parameters<M[N]>): Promise<Awaited<ReturnType<M[N]>>> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure());
    let method = this.#methods.get(name);
    if (method === undefined) this.#methods.set(name, (method = this.#root[name]!));
    const answer = method(...args);
    return new Promise((resolve, rejectPromise) => {
      // What the other side threw is handed on as it is, also if it is no Error.
      const reject: (error: unknown) => void = rejectPromise;
      this.#pending.add(reject);
      answer.then(
        (value) => {
          this.#pending.delete(reject);
          resolve(value as Awaited<ReturnType<M[N]>>);
        },
        (error: unknown) => {
          this.#pending.delete(reject);
          reject(error);
        },
      );
    });
  }

  /** Rejects every pending call, each with an error of its own, and every later one. Closes the port. Idempotent. */
  fail(makeError: () => Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = makeError;
    for (const reject of this.#pending) reject(makeError());
    this.#pending.clear();
    this.#port.close();
  }
}
