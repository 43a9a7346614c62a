/**
 * An actor in another thread, as the main thread holds it: `ActorApi` over the calls of the thread's port. Chunks are
 * transferred and gone. It decides nothing; when the thread dies each pending call rejects THREAD_DIED.
 */
import { transferring, type Caller } from './calls.js';
import type { HostMethods } from './host-methods.js';
import type {
  ActorApi,
  ActorStats,
  CheckpointReason,
  Chunk,
  ChunkDone,
  ClosedActor,
  CloseOptions,
  CommandCall,
  OpenedActor,
  ParkedActor,
  QueryCall,
  RecoveredActor,
  ResumedActor,
  ResumeOptions,
} from './protocol.js';

export class ActorHandle implements ActorApi {
  readonly #actor: number;
  readonly #host: Caller<HostMethods>;
  readonly #onClosed: () => void;
  #closing: Promise<ClosedActor> | undefined;

  constructor(actor: number, host: Caller<HostMethods>, onClosed: () => void) {
    this.#actor = actor;
    this.#host = host;
    this.#onClosed = onClosed;
  }

  open(): Promise<OpenedActor> {
    return this.#host.call('open', this.#actor);
  }

  recover(): Promise<RecoveredActor> {
    return this.#host.call('recover', this.#actor);
  }

  process(chunk: Chunk): Promise<ChunkDone> {
    return this.#host.call('process', this.#actor, transferring(chunk, [chunk.bytes]));
  }

  checkpoint(reason: CheckpointReason): Promise<void> {
    return this.#host.call('checkpoint', this.#actor, reason);
  }

  command(call: CommandCall): Promise<unknown> {
    return this.#host.call('command', this.#actor, call);
  }

  query(call: QueryCall): Promise<unknown> {
    return this.#host.call('query', this.#actor, call);
  }

  setCacheBytes(bytes: number): Promise<void> {
    return this.#host.call('setCacheBytes', this.#actor, bytes);
  }

  stats(): Promise<ActorStats> {
    return this.#host.call('stats', this.#actor);
  }

  park(options: CloseOptions): Promise<ParkedActor> {
    return this.#host.call('park', this.#actor, options);
  }

  resume(options: ResumeOptions): Promise<ResumedActor> {
    return this.#host.call('resume', this.#actor, options);
  }

  close(options: CloseOptions): Promise<ClosedActor> {
    this.#closing ??= this.#host.call('close', this.#actor, options).then((closed) => {
      this.#onClosed();
      return closed;
    });
    return this.#closing;
  }
}
