/**
 * The main thread's end of the two ports of one host thread: makes handles of its actors and answers their uplinks.
 * Owns the numbers of actors; ends with its thread. The thread itself belongs to `thread-pool.ts`.
 */
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { PartitaError } from '../core/errors.js';
import { ActorHandle } from './actor-handle.js';
import { Caller, serve, transferring } from './calls.js';
import type { HostMethods, HostTask, LogLevel, UplinkMethods, WireEvent } from './host-methods.js';
import type { ActorApi, ActorEvent, ActorSpec, ActorUplink, PlaceNeeds } from './protocol.js';
import { decodeError } from './wire-error.js';

export type ReceiveLog = (
  level: LogLevel,
  fields: Readonly<Record<string, unknown>>,
  message: string,
) => void;

let nextActor = 1;

export class HostLink {
  /** What the thread's task is run with; its ports are to be transferred. */
  readonly task: HostTask;
  readonly #host: Caller<HostMethods>;
  readonly #uplinks = new Map<number, ActorUplink>();
  readonly #uplinkPort: MessagePort;

  constructor(place: number, pulse: Pick<HostTask, 'pulse' | 'watchdogMs'>, log: ReceiveLog) {
    const calls = new MessageChannel();
    const uplink = new MessageChannel();
    this.task = { calls: calls.port2, uplink: uplink.port2, place, ...pulse };
    this.#host = new Caller(calls.port1);
    this.#uplinkPort = uplink.port1;
    serve(uplink.port1, this.#uplinkMethods(log));
  }

  /** How many actors the thread holds. */
  get actors(): number {
    return this.#uplinks.size;
  }

  /** Resolves to the thread's id when it serves calls. */
  ready(): Promise<number> {
    return this.#host.call('ready');
  }

  async create(spec: ActorSpec, uplink: ActorUplink): Promise<ActorApi> {
    const actor = nextActor++;
    this.#uplinks.set(actor, uplink);
    try {
      await this.#host.call('create', actor, spec);
    } catch (error) {
      this.#uplinks.delete(actor);
      throw error;
    }
    return new ActorHandle(actor, this.#host, () => this.#uplinks.delete(actor));
  }

  prepare(needs: PlaceNeeds): Promise<void> {
    return this.#host.call('prepare', needs);
  }

  drain(): Promise<void> {
    return this.#host.call('drain');
  }

  /** The thread is gone: every pending call rejects with an error of its own. Idempotent. */
  fail(makeError: () => Error): void {
    this.#host.fail(makeError);
    this.#uplinks.clear();
    this.#uplinkPort.close();
  }

  #uplinkMethods(log: ReceiveLog): UplinkMethods {
    const of = (actor: number): ActorUplink => {
      const uplink = this.#uplinks.get(actor);
      if (uplink === undefined)
        throw new PartitaError('FENCED', `The actor number ${actor} has no uplink any more.`);
      return uplink;
    };
    return {
      init: (actor) => of(actor).init(),
      committed: (actor) => of(actor).committed(),
      inputBounds: (actor) => of(actor).inputBounds(),
      changelogBounds: (actor) => of(actor).changelogBounds(),
      readChangelog: async (actor, request) => {
        const page = await of(actor).readChangelog(request);
        return transferring(page, [page.bytes]);
      },
      commit: (actor, request) => of(actor).commit(request),
      describeTopic: (actor, topic) => of(actor).describeTopic(topic),
      produce: (actor, batches) => of(actor).produce(batches),
      event: (actor, event) => {
        this.#uplinks.get(actor)?.event(fromWire(event));
      },
      log,
    };
  }
}

function fromWire(event: WireEvent): ActorEvent {
  if (event.wire === undefined) return event;
  const { wire, ...rest } = event;
  return { ...rest, error: decodeError(wire) } as ActorEvent;
}
