/**
 * The hash by which values are counted: 53 bits of MurmurHash3 in its form for 32-bit machines, with two of its four lanes,
 * each of which is given every block. It is part of what is stored, so it never changes; it is no defence against those
 * who choose values that collide. For its use see `hyperloglog.ts`.
 */

const SEED_TEXT = 0x9747b28c;
const SEED_NUMBER = 0x3c6ef372;
const NUMBER = new DataView(new ArrayBuffer(8));

/** The two lanes, kept outside of the functions so that a step has two results without an object for them. */
let a = 0;
let b = 0;

/** Texts are hashed by their UTF-16 units, numbers by their 64 bits; the text '1' and the number 1 differ. */
export function hash53(value: string | number): number {
  if (typeof value === 'number') {
    // −0 is 0.
    NUMBER.setFloat64(0, value + 0);
    a = b = SEED_NUMBER;
    mix(NUMBER.getInt32(0));
    mix(NUMBER.getInt32(4));
    return finished(8);
  }
  const { length } = value;
  a = b = SEED_TEXT;
  let i = 0;
  for (; i + 1 < length; i += 2) mix(value.charCodeAt(i) | (value.charCodeAt(i + 1) << 16));
  if (i < length) mix(value.charCodeAt(i));
  return finished(2 * length);
}

function mix(block: number): void {
  a ^= Math.imul(rotated(Math.imul(block, 0x239b961b), 15), 0xab0e9789);
  a = (Math.imul(rotated(a, 19) + b, 5) + 0x561ccd1b) | 0;
  b ^= Math.imul(rotated(Math.imul(block, 0x38b34ae5), 16), 0xa1e38b93);
  b = (Math.imul(rotated(b, 17) + a, 5) + 0x0bcaa747) | 0;
}

function finished(bytes: number): number {
  a = (a ^ bytes) | 0;
  b = (b ^ bytes) | 0;
  a = (a + b) | 0;
  b = (b + a) | 0;
  a = avalanche(a);
  b = avalanche(b);
  a = (a + b) | 0;
  b = (b + a) | 0;
  return (b >>> 11) * 2 ** 32 + (a >>> 0);
}

function rotated(value: number, bits: number): number {
  return (value << bits) | (value >>> (32 - bits));
}

function avalanche(value: number): number {
  value = Math.imul(value ^ (value >>> 16), 0x85ebca6b);
  value = Math.imul(value ^ (value >>> 13), 0xc2b2ae35);
  return value ^ (value >>> 16);
}
