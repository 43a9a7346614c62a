/**
 * Threads of a simulation: actors of the same code in the calling thread, behind two channels that deliver when the
 * scheduler says so, as the ports of a worker thread would. Ending a place cuts its channels: whatever was on the way is lost.
 */
import { PartitionActor } from '../../src/actor/partition-actor.js';
import { PartitaError } from '../../src/core/errors.js';
import { silentLogger } from '../../src/core/logger.js';
import { importProcessor } from '../../src/processor/import-processor.js';
import type { EngineFactory } from '../../src/storage/storage-engine.js';
import { LocalPlaces } from '../../src/threads/local-places.js';
import type { ActorApi, ActorSpec, ActorUplink, Chunk } from '../../src/threads/protocol.js';
import type { Channel, Scheduler } from './scheduler.js';

export interface PlacedSimulation {
  readonly spec: ActorSpec;
  readonly actor: PartitionActor;
  readonly down: Channel;
  readonly up: Channel;
  /** The last chunk it was given, for whoever wants to give it again. */
  lastChunk: Chunk | undefined;
  gone: boolean;
}

export class SimulatedPlaces {
  readonly places: LocalPlaces;
  readonly residents = new Set<PlacedSimulation>();

  constructor(manager: string, size: number, scheduler: Scheduler, engines: () => EngineFactory) {
    this.places = new LocalPlaces(size, (spec, uplink) => {
      const name = `${manager} ${spec.id.stream}-${spec.id.partition} epoch ${spec.epoch}`;
      const down = scheduler.channel(`${name} ◄`, name);
      const up = scheduler.channel(`${name} ►`, name);
      const actor = new PartitionActor(spec, throughUplink(uplink, up, down), {
        clock: scheduler.clock,
        logger: silentLogger,
        engines,
        importProcessor,
      });
      const resident: PlacedSimulation = { spec, actor, down, up, lastChunk: undefined, gone: false };
      this.residents.add(resident);
      const leave = (): void => {
        resident.gone = true;
        this.residents.delete(resident);
      };
      const api = throughPort(actor, resident, leave);
      const abandon = async (): Promise<void> => {
        leave();
        const died = (): Error => new PartitaError('THREAD_DIED', `The thread of ${name} was ended.`);
        down.cut(died);
        up.cut(died);
        await actor.close({ commit: false, budgetMs: 0 });
      };
      return { api, abandon };
    });
  }
}

/** Calls go down, answers and errors come up; both keep their order. */
function throughPort(actor: PartitionActor, resident: PlacedSimulation, leave: () => void): ActorApi {
  const { up, down } = resident;
  const call = async <T>(text: string, run: () => Promise<T>): Promise<T> => {
    await down.pass(text);
    let result: T;
    try {
      result = await run();
    } catch (error) {
      await up.pass(`${text} ended with ${error instanceof PartitaError ? error.code : String(error)}`);
      throw error;
    }
    await up.pass(`${text} answered`);
    return result;
  };
  return {
    open: () => call('open', () => actor.open()),
    recover: () => call('recover', () => actor.recover()),
    process: (chunk) =>
      call(`chunk from ${chunk.from}`, () => {
        resident.lastChunk = { ...chunk, bytes: chunk.bytes.slice(0) };
        return actor.process(chunk);
      }),
    checkpoint: (reason) => call('checkpoint', () => actor.checkpoint(reason)),
    command: (command) => call(`command ${String(command.key)}`, () => actor.command(command)),
    query: (query) => call(`query ${query.name}`, () => actor.query(query)),
    setCacheBytes: (bytes) => call('cache', () => actor.setCacheBytes(bytes)),
    stats: () => call('stats', () => actor.stats()),
    park: (options) => call('park', () => actor.park(options)),
    resume: (options) => call('resume', () => actor.resume(options)),
    close: async (options) => {
      const closed = await call('close', () => actor.close(options));
      leave();
      return closed;
    },
  };
}

function throughUplink(uplink: ActorUplink, up: Channel, down: Channel): ActorUplink {
  const call = async <T>(text: string, run: () => Promise<T>): Promise<T> => {
    await up.pass(text);
    let result: T;
    try {
      result = await run();
    } catch (error) {
      await down.pass(`${text} refused`);
      throw error;
    }
    await down.pass(`${text} answered`);
    return result;
  };
  return {
    init: () => call('init', () => uplink.init()),
    committed: () => call('committed?', () => uplink.committed()),
    inputBounds: () => call('bounds?', () => uplink.inputBounds()),
    changelogBounds: () => call('changelog bounds?', () => uplink.changelogBounds()),
    readChangelog: (request) => call(`read from ${request.from}`, () => uplink.readChangelog(request)),
    commit: (request) =>
      call(`commit ${request.offsets.map(({ offset, metadata }) => `${offset} ${metadata}`).join()}`, () =>
        uplink.commit(request),
      ),
    describeTopic: (topic) => call('describe', () => uplink.describeTopic(topic)),
    produce: (batches) => call('produce', () => uplink.produce(batches)),
    event: (event) => {
      call(`event ${event.type}`, async () => {
        uplink.event(event);
      }).catch(() => undefined);
    },
  };
}
