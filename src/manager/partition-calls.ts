/**
 * The commands and queries of one partition, from the caller to whichever incarnation of its actor answers. Owns their
 * queue, timeouts and acknowledgements: what has not started travels with a restarted actor, what had started and was not
 * committed is rejected, and none runs twice. It decides nothing about actors.
 */
import type { Clock, Timer } from '../core/clock.js';
import { describeError, PartitaError, type ErrorCode } from '../core/errors.js';
import { CallPlaces } from './call-places.js';
import { PROGRESS, type ActorApi, type CommandCall, type QueryCall } from '../threads/protocol.js';

export interface CallBounds {
  readonly timeoutMs: number;
  readonly signal: AbortSignal | undefined;
}

export interface PartitionCallsOptions {
  readonly stream: string;
  readonly partition: number;
  readonly clock: Clock;
  readonly callsMax: number;
  readonly waitMs: number;
}

/** The incarnation that answers at present. */
interface Answering {
  readonly api: ActorApi;
  readonly progress: Float64Array;
}

type Kind = 'command' | 'query';

interface Call {
  readonly kind: Kind;
  readonly request: Omit<CommandCall, 'seq'> | QueryCall;
  /** Of the last time it was sent; 0 while it waits. */
  seq: number;
  sentTo: Answering | undefined;
  settled: boolean;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
}

/** What an actor answers when it is going away; the call's fate is decided when it has gone. */
const GOING_AWAY: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'THREAD_DIED',
  'ACTOR_RESTARTED',
  'ACTOR_FAILED',
  'STOPPED',
]);

export class PartitionCalls {
  readonly #options: PartitionCallsOptions;
  readonly #waiting: Call[] = [];
  readonly #sent = new Set<Call>();
  readonly #places: Readonly<Record<Kind, CallPlaces>>;
  #seq = 0;
  #answering: Answering | undefined;
  #closed: (() => Error) | undefined;
  /** Started by an incarnation that is gone, in a commit whose fate only the next init tells. */
  readonly #undecided = new Map<number, Call>();

  constructor(options: PartitionCallsOptions) {
    this.#options = options;
    const places = (kind: Kind): CallPlaces => new CallPlaces({ ...options, full: () => this.#full(kind) });
    this.#places = { command: places('command'), query: places('query') };
  }

  get pending(): number {
    return this.#waiting.length + this.#sent.size + this.#undecided.size;
  }

  /** Rejects MAILBOX_FULL, CALL_TIMEOUT, ACTOR_RECOVERING, CALL_ABORTED, ACTOR_RESTARTED, or what the handler threw. */
  async command(request: Omit<CommandCall, 'seq'>, bounds: CallBounds): Promise<unknown> {
    return this.#call('command', request, bounds);
  }

  async query(request: QueryCall, bounds: CallBounds): Promise<unknown> {
    return this.#call('query', { ...request, timeoutMs: bounds.timeoutMs }, bounds);
  }

  /** An incarnation serves: what waits is sent to it, in order. */
  attach(api: ActorApi, progress: SharedArrayBuffer): void {
    this.#answering = { api, progress: new Float64Array(progress) };
    this.#closed = undefined;
    for (const call of this.#waiting.splice(0)) this.#send(call, this.#answering);
  }

  /** The incarnation is closing: nothing more is sent to it. */
  pause(): void {
    this.#answering = undefined;
  }

  /**
   * The incarnation is gone and its commits are answered. Calls that had not started wait for the next one; commands that
   * had are rejected, except those of a commit in doubt.
   */
  settle(inDoubt: ReadonlySet<number>): void {
    this.#answering = undefined;
    const again: Call[] = [];
    for (const call of this.#sent) {
      if (!isStarted(call)) again.push(call);
      else if (inDoubt.has(call.seq)) this.#undecided.set(call.seq, call);
      else
        this.#finish(call, () => {
          call.reject(this.#restarted('notApplied'));
        });
    }
    this.#sent.clear();
    again.sort((a, b) => a.seq - b.seq);
    this.#waiting.unshift(...again);
    // Taken away meanwhile: nobody here will answer what is left.
    if (this.#closed !== undefined) this.reject(this.#closed);
  }

  /** The log has committed these commands. */
  committed(commands: readonly { readonly seq: number; readonly result: unknown }[]): void {
    if (commands.length === 0) return;
    const done = new Map(commands.map(({ seq, result }) => [seq, result]));
    for (const call of [...this.#sent, ...this.#undecided.values()])
      if (call.kind === 'command' && done.has(call.seq))
        this.#finish(call, () => {
          call.resolve(done.get(call.seq));
        });
  }

  /** The commit in doubt is settled: what it held and `committed` did not name ended so. */
  decided(outcome: 'notApplied' | 'unknown'): void {
    for (const call of [...this.#undecided.values()])
      this.#finish(call, () => {
        call.reject(this.#restarted(outcome));
      });
  }

  /**
   * The partition is not here any more: everything is rejected, what is in doubt as unknown. Commands that an incarnation
   * has been sent wait for its end: it may still start them, and a commit that is under way may come out well.
   */
  reject(makeError: () => Error): void {
    this.#answering = undefined;
    this.#closed = makeError;
    for (const call of [...this.#undecided.values()])
      this.#finish(call, () => {
        call.reject(this.#restarted('unknown'));
      });
    const queries = [...this.#sent].filter(({ kind }) => kind === 'query');
    for (const call of [...this.#waiting.splice(0), ...queries])
      this.#finish(call, () => {
        call.reject(makeError());
      });
  }

  /** The partition is (again) ours, though nobody may answer yet: calls wait. */
  admit(): void {
    this.#closed = undefined;
  }

  async #call(kind: Kind, request: Call['request'], bounds: CallBounds): Promise<unknown> {
    this.#expectOpen(bounds.signal);
    const places = this.#places[kind];
    await places.enter(bounds.timeoutMs, bounds.signal, () => this.#aborted(bounds.signal));
    try {
      // Both may have changed during the wait.
      this.#expectOpen(bounds.signal);
      return await this.#submit(kind, request, bounds);
    } finally {
      places.leave();
    }
  }

  #expectOpen(signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) throw this.#aborted(signal);
    if (this.#closed !== undefined) throw this.#closed();
  }

  #submit(kind: Kind, request: Call['request'], bounds: CallBounds): Promise<unknown> {
    return new Promise((resolve, rejectPromise) => {
      // What a handler threw is handed on as it is, also if it is no Error.
      const reject: (error: unknown) => void = rejectPromise;
      const cleanUp = (): void => {
        timer.cancel();
        bounds.signal?.removeEventListener('abort', onAbort);
      };
      const call: Call = {
        kind,
        request,
        seq: 0,
        sentTo: undefined,
        settled: false,
        resolve: (value) => {
          cleanUp();
          resolve(value);
        },
        reject: (error) => {
          cleanUp();
          reject(error);
        },
      };
      const onAbort = (): void => {
        this.#finish(call, () => {
          call.reject(this.#aborted(bounds.signal));
        });
      };
      const timer: Timer = this.#options.clock.setTimer(bounds.timeoutMs, () => {
        this.#finish(call, () => {
          call.reject(this.#timedOut(call, bounds.timeoutMs));
        });
      });
      bounds.signal?.addEventListener('abort', onAbort, { once: true });
      if (this.#answering === undefined) this.#waiting.push(call);
      else this.#send(call, this.#answering);
    });
  }

  #send(call: Call, to: Answering): void {
    call.seq = ++this.#seq;
    call.sentTo = to;
    this.#sent.add(call);
    const seq = call.seq;
    const answer =
      call.kind === 'command'
        ? to.api.command({ ...(call.request as Omit<CommandCall, 'seq'>), seq })
        : to.api.query(call.request as QueryCall);
    answer.then(
      (value) => {
        if (call.seq === seq)
          this.#finish(call, () => {
            call.resolve(value);
          });
      },
      (error: unknown) => {
        // Of one that is going away nothing is known yet: `settle` decides.
        const undecided = error instanceof PartitaError && GOING_AWAY.has(error.code);
        if (!undecided && call.seq === seq)
          this.#finish(call, () => {
            call.reject(error instanceof PartitaError ? error : this.#uncrossed(call, error));
          });
      },
    );
  }

  #finish(call: Call, settle: () => void): void {
    if (call.settled) return;
    call.settled = true;
    this.#sent.delete(call);
    this.#undecided.delete(call.seq);
    const waiting = this.#waiting.indexOf(call);
    if (waiting >= 0) this.#waiting.splice(waiting, 1);
    settle();
  }

  #full(kind: Kind): PartitaError {
    const { callsMax, waitMs } = this.#options;
    return new PartitaError(
      'MAILBOX_FULL',
      `${this.#name()} has ${callsMax} ${kind === 'query' ? 'queries' : 'commands'} under way, and none ended within ${waitMs} ms.`,
      { details: this.#details() },
    );
  }

  #timedOut(call: Call, timeoutMs: number): PartitaError {
    const waited = call.sentTo === undefined;
    return new PartitaError(
      waited ? 'ACTOR_RECOVERING' : 'CALL_TIMEOUT',
      waited
        ? `${this.#name()} did not serve within ${timeoutMs} ms: its actor is still being opened or recovered.`
        : `The ${call.kind} ${call.request.name} of ${this.#name()} was not answered within ${timeoutMs} ms.`,
      { details: { ...this.#details(), timeoutMs } },
    );
  }

  /** Handlers' errors come with a code; any other is about getting to the actor or back. */
  #uncrossed(call: Call, cause: unknown): PartitaError {
    const arguments_ = cause instanceof Error && cause.name === 'DataCloneError';
    return new PartitaError(
      arguments_ ? 'INVALID_ARGUMENT' : 'HANDLER_FAILED',
      `The ${arguments_ ? 'arguments' : 'result'} of the ${call.kind} ${call.request.name} of ${this.#name()} can't be copied to another thread: ${describeError(cause)}.`,
      { cause, details: this.#details() },
    );
  }

  #aborted(signal: AbortSignal | undefined): PartitaError {
    return new PartitaError('CALL_ABORTED', `A call to ${this.#name()} was aborted.`, {
      cause: signal?.reason,
      details: this.#details(),
    });
  }

  #restarted(outcome: 'notApplied' | 'unknown'): PartitaError {
    return new PartitaError(
      'ACTOR_RESTARTED',
      outcome === 'notApplied'
        ? `The actor of ${this.#name()} ended before the command was committed; it was not applied.`
        : `${this.#name()} was lost while the command's commit was in doubt.`,
      { details: { ...this.#details(), outcome } },
    );
  }

  #name(): string {
    return `${this.#options.stream}-${this.#options.partition}`;
  }

  #details(): { readonly stream: string; readonly partition: number } {
    return { stream: this.#options.stream, partition: this.#options.partition };
  }
}

/** A command that may have been applied. */
function isStarted({ kind, seq, sentTo }: Call): boolean {
  return kind === 'command' && sentTo !== undefined && seq > 0 && seq <= startedCommand(sentTo);
}

function startedCommand(answering: Answering | undefined): number {
  return answering?.progress[PROGRESS.startedCommand] ?? 0;
}
