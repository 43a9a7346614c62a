/**
 * The control lane of an actor: commands and queries in the order of their arrival, and the commands that have run and
 * wait for their commit. It holds promises, runs nothing and knows no time; bounds are the manager's, which admits calls.
 */
import type { PartitaError } from '../core/errors.js';
import type { CommandCall, QueryCall } from '../threads/protocol.js';

interface Settlers {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export type PendingCall = Settlers &
  (
    | { readonly kind: 'command'; readonly call: CommandCall }
    | { readonly kind: 'query'; readonly call: QueryCall }
  );
type PendingCommand = Extract<PendingCall, { kind: 'command' }>;
export type CommandOutcome = 'notStarted' | 'notApplied' | 'unknown';
export type UncommittedCommand = PendingCommand & { readonly result: unknown };

export class CallQueue {
  commands = 0;
  queries = 0;
  readonly #waiting: PendingCall[] = [];
  #uncommitted: UncommittedCommand[] = [];
  #commitWaiters: Settlers[] = [];

  get waiting(): boolean {
    return this.#waiting.length > 0;
  }

  /** Commands that have run and are acknowledged only once committed. */
  get uncommitted(): number {
    return this.#uncommitted.length;
  }

  get someoneWaitsForCommit(): boolean {
    return this.#commitWaiters.length > 0;
  }

  addCommand(call: CommandCall): Promise<unknown> {
    return new Promise((resolve, reject) => this.#waiting.push({ kind: 'command', call, resolve, reject }));
  }

  addQuery(call: QueryCall): Promise<unknown> {
    return new Promise((resolve, reject) => this.#waiting.push({ kind: 'query', call, resolve, reject }));
  }

  next(): PendingCall | undefined {
    const call = this.#waiting.shift();
    if (call?.kind === 'command') this.commands++;
    else if (call !== undefined) this.queries++;
    return call;
  }

  /** The command's handler has ended well: it is answered now, or with its commit. */
  commandDone(command: PendingCommand, result: unknown): void {
    if (command.call.ack === 'processed') command.resolve(result);
    else this.#uncommitted.push({ ...command, result });
  }

  /** The commands that go with the checkpoint being frozen. */
  takeUncommitted(): readonly UncommittedCommand[] {
    const taken = this.#uncommitted;
    this.#uncommitted = [];
    return taken;
  }

  /** Resolves at once if everything is committed, otherwise when `committed` is called. */
  whenCommitted(isClean: () => boolean): Promise<void> {
    if (isClean()) return Promise.resolve();
    return new Promise<void>((resolve, reject) => {
      this.#commitWaiters.push({
        resolve: () => {
          resolve();
        },
        reject,
      });
    });
  }

  /** Who waits for the checkpoint being frozen; its end settles them. */
  takeCommitWaiters(): readonly Settlers[] {
    return this.#commitWaiters.splice(0);
  }

  committed(): void {
    for (const waiter of this.takeCommitWaiters()) waiter.resolve(undefined);
  }

  dropUnstarted(error: (outcome: CommandOutcome) => PartitaError): void {
    for (const call of this.#waiting.splice(0)) call.reject(error('notStarted'));
  }

  /** Commands whose effects are dropped with the layer. */
  dropUncommitted(error: (outcome: CommandOutcome) => PartitaError): void {
    for (const command of this.takeUncommitted()) command.reject(error('notApplied'));
    for (const waiter of this.takeCommitWaiters()) waiter.reject(error('notApplied'));
  }
}
