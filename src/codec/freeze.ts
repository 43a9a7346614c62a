/**
 * Deep freezing of plain data, and the walk that admits a value as JSON: in one pass it finds what JSON would drop or
 * change, freezes, and bounds the encoded size. It runs for every `set` of every record, so the fast walk allocates
 * nothing and only says no; a second walk then finds out where and why. It never encodes.
 */

/** Deeper is taken for a cycle. */
const DEPTH_MAX = 200;
const REFUSED = -1;
/** JSON text of the longest number: sign, 17 digits, point, exponent. */
const NUMBER_CHARS = 25;
/** A UTF-16 unit takes at most six characters, as an escape. */
const CHARS_PER_UNIT = 6;

/**
 * Checks that `value` survives JSON unchanged, freezes it deeply, and returns an upper bound of the bytes of its JSON
 * text. Throws a TypeError naming the path of what does not survive: bigint, function, symbol, undefined, NaN, infinities,
 * −0, holes in arrays, instances of classes (Date, Map, …), `toJSON`, cycles.
 */
export function admitJson(value: unknown): number {
  const bound = walk(value, 0);
  if (bound < 0) throw new TypeError(explain(value, 'the value', 0));
  return bound;
}

/** Freezes plain objects and arrays all the way down; other objects are left alone. Returns the value. */
export function freezeDeep<T>(value: T): T {
  freeze(value, 0);
  return value;
}

function walk(value: unknown, depth: number): number {
  switch (typeof value) {
    case 'number':
      // −0 becomes 0, NaN and infinities become null.
      return value - value === 0 && (value !== 0 || 1 / value > 0) ? NUMBER_CHARS : REFUSED;
    case 'string':
      return CHARS_PER_UNIT * value.length + 2;
    case 'boolean':
      return 5;
    case 'object':
      if (value === null) return 4;
      if (depth >= DEPTH_MAX) return REFUSED;
      return Array.isArray(value)
        ? walkArray(value, depth + 1)
        : walkObject(value as Record<string, unknown>, depth + 1);
    case 'undefined':
    case 'bigint':
    case 'symbol':
    case 'function':
      return REFUSED;
  }
}

function walkObject(object: Record<string, unknown>, depth: number): number {
  const prototype: unknown = Object.getPrototypeOf(object);
  if (prototype !== Object.prototype && prototype !== null) return REFUSED;
  if (typeof object['toJSON'] === 'function') return REFUSED;
  let bound = 2;
  for (const name in object) {
    const inner = walk(object[name], depth);
    if (inner < 0) return REFUSED;
    bound += inner + CHARS_PER_UNIT * name.length + 4;
  }
  Object.freeze(object);
  return bound;
}

function walkArray(array: readonly unknown[], depth: number): number {
  if (Object.getPrototypeOf(array) !== Array.prototype) return REFUSED;
  if (typeof (array as { toJSON?: unknown }).toJSON === 'function') return REFUSED;
  let bound = 2;
  // A hole reads as undefined, which is refused.
  for (let i = 0; i < array.length; i++) {
    const inner = walk(array[i], depth);
    if (inner < 0) return REFUSED;
    bound += inner + 1;
  }
  Object.freeze(array);
  return bound;
}

/** Why `walk` refused: path and reason of the first thing that does not survive. */
function explain(value: unknown, path: string, depth: number): string {
  const inner = reasonAt(value, path, depth);
  return inner ?? `${path} does not survive JSON`;
}

function reasonAt(value: unknown, path: string, depth: number): string | undefined {
  if (walk(value, depth) >= 0) return undefined;
  if (typeof value === 'number')
    return `${path} is ${Object.is(value, -0) ? '-0' : String(value)}, which JSON changes`;
  if (value === undefined) return `${path} is undefined, which JSON drops`;
  if (typeof value !== 'object' || value === null)
    return `${path} is a ${typeof value}, which JSON can't hold`;
  if (depth >= DEPTH_MAX)
    return `${path.slice(0, 100)}… is nested deeper than ${DEPTH_MAX} levels, or in a cycle`;
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== null && prototype !== (Array.isArray(value) ? Array.prototype : Object.prototype)) {
    return `${path} is an instance of ${nameOf(prototype)}, which JSON does not restore`;
  }
  if (typeof (value as { toJSON?: unknown }).toJSON === 'function')
    return `${path} has toJSON, which changes it`;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) {
      const reason = reasonAt(value[i], `${path}[${i}]`, depth + 1);
      if (reason !== undefined) return reason;
    }
    return undefined;
  }
  for (const name in value) {
    const inner = (value as Record<string, unknown>)[name];
    const reason = reasonAt(inner, `${path}.${name}`, depth + 1);
    if (reason !== undefined) return reason;
  }
  return undefined;
}

function nameOf(prototype: unknown): string {
  const name = (prototype as { constructor?: { name?: unknown } }).constructor?.name;
  return typeof name === 'string' && name !== '' ? name : 'a class';
}

function freeze(value: unknown, depth: number): void {
  if (typeof value !== 'object' || value === null || depth > DEPTH_MAX) return;
  if (Array.isArray(value)) {
    for (const inner of value) freeze(inner, depth + 1);
    Object.freeze(value);
    return;
  }
  const prototype: unknown = Object.getPrototypeOf(value);
  if (prototype !== Object.prototype && prototype !== null) return;
  for (const name in value) freeze((value as Record<string, unknown>)[name], depth + 1);
  Object.freeze(value);
}
