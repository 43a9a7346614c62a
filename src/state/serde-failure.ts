/**
 * Why a key or value of a store can't be taken: SERDE_FAILED with store, key and cause, and the test for text that does
 * not survive UTF-8. It decides nothing else.
 */
import { describeError, PartitaError } from '../core/errors.js';

export function serdeFailed(
  what: 'key' | 'value',
  store: string,
  key: unknown,
  cause: unknown,
): PartitaError {
  return new PartitaError(
    'SERDE_FAILED',
    `A ${what} of the store ${store} does not survive its serde: ${describeError(cause)}`,
    { cause, details: { what, store, key: showKey(key) } },
  );
}

/** Details cross threads: a key in them is text or a number, cut to what fits a line. */
export function showKey(key: unknown): string | number {
  if (typeof key === 'number') return key;
  return String(key).slice(0, 200);
}

/** ES2024's String methods, which Node 20 has and the ES2023 library of TypeScript does not. */
interface WellFormedText {
  isWellFormed(): boolean;
  toWellFormed(): string;
}

export function isWellFormed(text: string): boolean {
  return (text as unknown as WellFormedText).isWellFormed();
}

/** Lone surrogates become U+FFFD, as they do in UTF-8. */
export function toWellFormed(text: string): string {
  return (text as unknown as WellFormedText).toWellFormed();
}
