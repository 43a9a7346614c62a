/**
 * How tests wait: for a condition, as long as it takes on a machine that is busy with something else, or for turns of the
 * event loop. A test never asserts that a wait was short; what it asserts are counts and order.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';

/** Only a test that would wait for ever meets it. */
export const PATIENCE_MS = 60_000;
const LOOK_EVERY_MS = 10;

/** @param what for the message of a wait in vain; absent: the condition itself */
export async function until(
  condition: () => boolean | Promise<boolean>,
  what = String(condition),
  withinMs = PATIENCE_MS,
): Promise<void> {
  const end = performance.now() + withinMs;
  while (!(await condition())) {
    assert.ok(performance.now() < end, `waited ${withinMs} ms in vain for: ${what}`);
    await sleep(LOOK_EVERY_MS);
  }
}

/** After some turns of the event loop all that waits for neither time nor files nor threads has happened. */
export async function turns(count = 1): Promise<void> {
  for (let turn = 0; turn < count; turn++) await new Promise((resolve) => setImmediate(resolve));
}
