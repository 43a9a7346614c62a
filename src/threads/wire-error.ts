/**
 * Errors as they cross a thread: code, details, stack and the chain of causes survive, which comlink and structured
 * cloning lose. Owns the wire form only; who throws and who catches is not its business.
 */
import { ERROR_CODES, PartitaError, type ErrorCode } from '../core/errors.js';

/** Causes below this depth are cut: a chain that refers to itself must end. */
const CAUSE_DEPTH_MAX = 8;

export type WireError =
  | {
      readonly kind: 'partita';
      readonly code: ErrorCode;
      readonly message: string;
      readonly details: Readonly<Record<string, unknown>>;
      readonly stack: string | undefined;
      readonly cause: WireError | undefined;
    }
  | {
      readonly kind: 'error';
      readonly name: string;
      readonly message: string;
      readonly stack: string | undefined;
      /** Own enumerable fields (`code`, `errno`, …) that can be cloned. */
      readonly fields: Readonly<Record<string, unknown>>;
      readonly cause: WireError | undefined;
    }
  | { readonly kind: 'value'; readonly value: unknown };

/** Any thrown value in a form that `postMessage` takes. */
export function encodeError(error: unknown, depth = 0): WireError {
  if (!(error instanceof Error)) return { kind: 'value', value: cloneable(error) };
  const cause =
    error.cause === undefined || depth >= CAUSE_DEPTH_MAX ? undefined : encodeError(error.cause, depth + 1);
  if (error instanceof PartitaError)
    return {
      kind: 'partita',
      code: error.code,
      message: error.message,
      details: cloneableFields(error.details),
      stack: error.stack,
      cause,
    };
  return {
    kind: 'error',
    name: error.name,
    message: error.message,
    stack: error.stack,
    fields: cloneableFields(error),
    cause,
  };
}

/** The thrown value again: a PartitaError is one, a foreign error is an Error with its name and fields. */
export function decodeError(wire: WireError): unknown {
  if (wire.kind === 'value') return wire.value;
  const options = wire.cause === undefined ? {} : { cause: decodeError(wire.cause) };
  const error =
    wire.kind === 'partita' && wire.code in ERROR_CODES
      ? new PartitaError(wire.code, wire.message, { ...options, details: wire.details })
      : new Error(wire.message, options);
  if (wire.kind === 'error') Object.assign(error, { name: wire.name }, wire.fields);
  if (wire.stack !== undefined) error.stack = wire.stack;
  return error;
}

function cloneableFields(fields: object): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) if (name !== 'cause') result[name] = cloneable(value);
  return result;
}

/** The value itself if it can be cloned, else a text of it. Errors inside become their wire form's message. */
function cloneable(value: unknown): unknown {
  if (value instanceof Error) return value.message;
  if (
    value === null ||
    (typeof value !== 'object' && typeof value !== 'function' && typeof value !== 'symbol')
  )
    return value;
  try {
    return structuredClone(value);
  } catch (error) {
    return `[${typeof value} that can't be cloned: ${(error as Error).message}]`;
  }
}
