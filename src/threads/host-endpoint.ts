/**
 * The worker's end of the two ports: serves the actors of a host to the main thread and gives each actor its uplink.
 * Knows the host by its interface only; `workers/actor-host.ts` puts both together.
 */
import { threadId } from 'node:worker_threads';
import { Caller, serve, transferring } from './calls.js';
import type {
  HostMethods,
  HostTask,
  LogLevel,
  ThreadHost,
  UplinkMethods,
  WireEvent,
} from './host-methods.js';
import { preloadEngine } from './preload-engine.js';
import type { ActorCommit, ActorEvent, ActorUplink, OutputSpec } from './protocol.js';
import { encodeError } from './wire-error.js';
import type {
  CommitOutcome,
  CommittedOffset,
  LogBatch,
  LogPage,
  PartitionBounds,
} from '../core/log-types.js';

/** Sends a line to the manager's logger; never waits, never fails. */
export type SendLog = (level: LogLevel, fields: Readonly<Record<string, unknown>>, message: string) => void;

/** Serves a host until the main thread drains it; resolves then, which ends the thread's task. */
export function serveHost(task: HostTask, makeHost: (log: SendLog) => ThreadHost): Promise<void> {
  const up = new Caller<UplinkMethods>(task.uplink);
  const host = makeHost((level, fields, message) => {
    forget(up.call('log', level, fields, message));
  });
  return new Promise((resolve) => {
    const methods: HostMethods = {
      ready: () => threadId,
      create: (actor, spec) => {
        host.create(actor, spec, new PortUplink(actor, up));
      },
      prepare: async ({ processorUrl, engine }) => {
        await host.prepare(processorUrl);
        if (engine !== undefined) await preloadEngine(engine);
      },
      open: (actor) => host.api(actor).open(),
      recover: (actor) => host.api(actor).recover(),
      process: (actor, chunk) => host.api(actor).process(chunk),
      checkpoint: (actor, reason) => host.api(actor).checkpoint(reason),
      command: (actor, call) => host.api(actor).command(call),
      query: (actor, call) => host.api(actor).query(call),
      setCacheBytes: (actor, bytes) => host.api(actor).setCacheBytes(bytes),
      stats: (actor) => host.api(actor).stats(),
      park: (actor, options) => host.api(actor).park(options),
      resume: (actor, options) => host.api(actor).resume(options),
      close: async (actor, options) => {
        const closed = await host.api(actor).close(options);
        host.remove(actor);
        return closed;
      },
      drain: () => {
        // After this turn, so that the answer leaves before the task's end ends the thread.
        setImmediate(() => {
          task.calls.close();
          task.uplink.close();
          resolve();
        });
      },
    };
    serve(task.calls, methods);
  });
}

/** An actor's way to the main thread. */
class PortUplink implements ActorUplink {
  readonly #actor: number;
  readonly #up: Caller<UplinkMethods>;

  constructor(actor: number, up: Caller<UplinkMethods>) {
    this.#actor = actor;
    this.#up = up;
  }

  init(): Promise<void> {
    return this.#up.call('init', this.#actor);
  }

  committed(): Promise<readonly (CommittedOffset | undefined)[]> {
    return this.#up.call('committed', this.#actor);
  }

  inputBounds(): Promise<readonly PartitionBounds[]> {
    return this.#up.call('inputBounds', this.#actor);
  }

  changelogBounds(): Promise<PartitionBounds> {
    return this.#up.call('changelogBounds', this.#actor);
  }

  readChangelog(request: { readonly from: number; readonly maxBytes: number }): Promise<LogPage> {
    return this.#up.call('readChangelog', this.#actor, request);
  }

  commit(request: ActorCommit): Promise<CommitOutcome> {
    return this.#up.call('commit', this.#actor, transferring(request, buffersOf(request.batches)));
  }

  describeTopic(topic: string): Promise<OutputSpec | undefined> {
    return this.#up.call('describeTopic', this.#actor, topic);
  }

  produce(batches: readonly LogBatch[]): Promise<void> {
    return this.#up.call('produce', this.#actor, transferring(batches, buffersOf(batches)));
  }

  event(event: ActorEvent): void {
    forget(this.#up.call('event', this.#actor, toWire(event)));
  }
}

function toWire(event: ActorEvent): WireEvent {
  return 'error' in event ? { ...event, error: undefined, wire: encodeError(event.error) } : event;
}

function* buffersOf(batches: readonly LogBatch[]): Generator<ArrayBuffer> {
  for (const batch of batches) yield batch.bytes;
}

/** Events and log lines are for information: the thread that can't deliver one is about to end, and nobody waits. */
function forget(sent: Promise<void>): void {
  sent.then(
    () => undefined,
    () => undefined,
  );
}
