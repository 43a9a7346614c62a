/**
 * The work of W1 that no runtime can spare, on one thread with nothing around it: slice a value, parse it, update a Map of
 * frozen aggregates, make the output's text. How fast this is tells how fast the machine is at that moment; shared
 * machines change by a factor of two within minutes, so that figures are reported beside it.
 */
import { sliceText } from '../../src/codec/text.js';

const RECORDS = 4096;
const KEYS = 1024;
const ROUND_MS = 250;

/** Records per second. */
export function coreLoop(): number {
  const value = Buffer.from(JSON.stringify({ t: 1_767_225_600_000, v: 123, pad: 'x'.repeat(60) }));
  const data = Buffer.concat(Array.from({ length: RECORDS }, () => value));
  const keys = Buffer.from(Array.from({ length: KEYS }, (_, i) => `k${String(i).padStart(7, '0')}`).join(''));
  const aggregates = new Map<
    string,
    { readonly count: number; readonly sum: number; readonly last: number }
  >();
  let textBytes = 0;
  const round = (): void => {
    for (let i = 0; i < RECORDS; i++) {
      const at = i * value.length;
      const { v } = JSON.parse(sliceText(data, at, at + value.length)) as { readonly v: number };
      const keyAt = (i % KEYS) * 8;
      const key = sliceText(keys, keyAt, keyAt + 8);
      const old = aggregates.get(key);
      const next = { count: (old?.count ?? 0) + 1, sum: (old?.sum ?? 0) + v, last: v };
      aggregates.set(key, Object.freeze(next));
      textBytes += JSON.stringify(next).length;
    }
  };
  for (let i = 0; i < 20; i++) round();
  const startedAt = performance.now();
  let rounds = 0;
  while (performance.now() - startedAt < ROUND_MS) {
    round();
    rounds++;
  }
  if (textBytes === 0) throw new Error('The loop was optimised away.');
  return (rounds * RECORDS) / ((performance.now() - startedAt) / 1000);
}
