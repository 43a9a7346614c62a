/**
 * What a timer is called with, as it is held and stored: JSON text, or nothing for a timer without a payload. It checks
 * nothing about keys and times; `timer-store.ts` does.
 */
import { admitJson, freezeDeep } from '../../codec/freeze.js';
import type { Serde } from '../../processor/serde.js';
import { internal } from '../internal-serdes.js';

/** `undefined` is a payload too, and null another one, which a store could not tell from absence. */
export interface TimerPayload {
  readonly value: unknown;
  /** Upper bound of its stored bytes. */
  readonly bytesMax: number;
}

const NONE: TimerPayload = { value: undefined, bytesMax: 0 };

export const timerPayloads: Serde<unknown> = internal<TimerPayload>('timer payload', {
  toText: ({ value }) => (value === undefined ? '' : JSON.stringify(value)),
  fromText: (text) =>
    text === '' ? NONE : { value: freezeDeep(JSON.parse(text) as unknown), bytesMax: 3 * text.length },
  bytesMax: ({ bytesMax }) => bytesMax,
});

/** Freezes it. @throws TypeError for what does not survive JSON */
export function timerPayload(value: unknown): TimerPayload {
  return value === undefined ? NONE : { value, bytesMax: admitJson(value) };
}
