/**
 * How long a handler's views are valid: the actor opens the scope before a record, command or query and closes it after.
 * Closing it also ends the scans that the handler left open, so that no snapshot outlives its record. It never moves
 * anything else.
 */
import { PartitaError } from '../core/errors.js';
import type { OpenScan } from './state-layers.js';

export class RecordScope {
  /** Event time of what is under way, in ms; -1: it has none. */
  timestamp = -1;
  /** In a timer or closing by event time: when it was due, which is as far as time has come for it. Otherwise Infinity. */
  dueAtMs = Infinity;
  #open = false;
  #scans: Set<OpenScan> | undefined;

  get open(): boolean {
    return this.#open;
  }

  set open(open: boolean) {
    this.#open = open;
    if (!open && this.#scans !== undefined) this.#endScans();
  }

  /** @throws PartitaError RECORD_CLOSED */
  check(): void {
    if (!this.#open) throw recordClosed();
  }

  addScan(scan: OpenScan): void {
    (this.#scans ??= new Set()).add(scan);
  }

  removeScan(scan: OpenScan): void {
    this.#scans?.delete(scan);
  }

  #endScans(): void {
    const scans = this.#scans ?? [];
    this.#scans = undefined;
    for (const scan of scans) scan.end(recordClosed());
  }
}

function recordClosed(): PartitaError {
  return new PartitaError(
    'RECORD_CLOSED',
    'The record, command or query that this context belongs to has ended; use stores and emit only until the handler returns.',
  );
}
