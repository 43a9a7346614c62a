/**
 * The routers of a manager's streams, as its users get them, and whose partition a key is. It makes the routers and knows where
 * they find the calls of each partition; what one of them does with a call is `stream-router.ts`.
 */
import type { Clock } from '../core/clock.js';
import { PartitaError } from '../core/errors.js';
import type { TopicPartition } from '../core/log-types.js';
import type { OutputProducer } from '../log/log-client.js';
import type { ProcessorRef } from '../processor/processor-at.js';
import type { GroupAssignment } from './assignment.js';
import type { ResolvedOptions } from './options.js';
import type { StreamPlan } from './stream-plan.js';
import { StreamRouter, type Router } from './stream-router.js';

/** Routers by stream. */
export type RoutersOf<R> = {
  readonly [N in keyof R]: R[N] extends ProcessorRef<infer X> ? Router<X> : never;
};

export interface Location {
  readonly partition: number;
  /** Whether this manager owns the partition. */
  readonly local: boolean;
  /** The owner's advertised address, where known. */
  readonly address: string | undefined;
}

export interface StreamRoutersOptions {
  readonly plans: readonly StreamPlan[];
  readonly options: ResolvedOptions;
  readonly clock: Clock;
  readonly outputs: () => OutputProducer;
  readonly assignment: GroupAssignment;
  /** Advertised address of the member that owns the partition, if any is known. */
  readonly ownerOf: (partition: TopicPartition) => string | undefined;
  /** Throws STOPPED once the manager takes no calls any more. */
  readonly expectUsable: () => void;
}

/** The router's methods, which may be taken apart: `const { query } = manager.streams.orders`. */
type BoundRouter = Pick<StreamRouter, 'query' | 'queryAll' | 'command' | 'send'>;

export class StreamRouters {
  /** By stream. */
  readonly streams: Readonly<Record<string, BoundRouter>>;
  readonly #options: StreamRoutersOptions;
  readonly #routers = new Map<string, StreamRouter>();

  constructor(options: StreamRoutersOptions) {
    this.#options = options;
    for (const plan of options.plans) this.#routers.set(plan.stream, this.#make(plan));
    this.streams = Object.fromEntries([...this.#routers].map(([stream, router]) => [stream, bound(router)]));
  }

  /** @throws PartitaError INVALID_ARGUMENT */
  locate(stream: string, key: unknown): Location {
    const { plans, options, assignment, ownerOf } = this.#options;
    const router = this.#routers.get(stream);
    const plan = plans.find((candidate) => candidate.stream === stream);
    if (router === undefined || plan === undefined)
      throw new PartitaError('INVALID_ARGUMENT', `There is no stream ${stream}.`);
    const partition = router.partitionOf(key);
    const local = assignment.keeper(stream, partition) !== undefined;
    const at = { topic: plan.inputs[0]!.topic, partition };
    return { partition, local, address: local ? options.advertise : ownerOf(at) };
  }

  #make(plan: StreamPlan): StreamRouter {
    const { options, clock, outputs, assignment, expectUsable } = this.#options;
    return new StreamRouter(plan, {
      clock,
      callTimeoutMs: options.callTimeoutMs,
      callsMax: options.mailbox.callsMax,
      waitMs: options.mailbox.waitMs,
      outputs,
      calls: (of, partition) => assignment.calls(of, partition),
      ownPartitions: (of) =>
        assignment
          .keepers()
          .filter((keeper) => keeper.plan === of)
          .map((keeper) => keeper.partition)
          .sort((a, b) => a - b),
      expectUsable,
    });
  }
}

function bound(router: StreamRouter): BoundRouter {
  return {
    query: (name, options) => router.query(name, options),
    queryAll: (name, options) => router.queryAll(name, options),
    command: (name, options) => router.command(name, options),
    send: (input, record, options) => router.send(input, record, options),
  };
}
