/**
 * At-least-once: outputs of records that leave before their checkpoint, outside of its transaction, and the answers that
 * the checkpoint awaits. Under exactly-once nothing passes through here: all outputs wait for the transaction.
 */
import type { ActorUplink } from '../threads/protocol.js';
import type { OutputBatches } from './output-batches.js';

export class EarlyOutputs {
  readonly #uplink: ActorUplink;
  readonly #onError: (error: unknown) => void;
  #sent: Promise<void> | undefined;
  /** Unacknowledged. */
  bytesInFlight = 0;

  constructor(uplink: ActorUplink, onError: (error: unknown) => void) {
    this.#uplink = uplink;
    this.#onError = onError;
  }

  /** Settles when what has left is acknowledged; `undefined` if nothing is under way. */
  get sent(): Promise<void> | undefined {
    return this.#sent;
  }

  send(outputs: OutputBatches): void {
    if (outputs.records === 0) return;
    const batches = outputs.take();
    const bytes = batches.reduce((sum, batch) => sum + batch.bytes.byteLength, 0);
    this.bytesInFlight += bytes;
    const earlier = this.#sent;
    const sent = this.#uplink.produce(batches).then(() => {
      this.bytesInFlight -= bytes;
    });
    const all = earlier === undefined ? sent : Promise.all([earlier, sent]).then(() => undefined);
    this.#sent = all;
    all.then(() => {
      if (this.#sent === all) this.#sent = undefined;
    }, this.#onError);
  }
}
