/**
 * The port to logging, in the shape of pino: a pino logger can be passed as it is. Fields go in the object, the sentence
 * in the message. Partita never logs a record's key or value.
 */
import { PartitaError } from './errors.js';

export type LogFields = Readonly<Record<string, unknown>>;

export interface LogMethod {
  (fields: LogFields, message?: string): void;
  (message: string): void;
}

export interface Logger {
  readonly trace: LogMethod;
  readonly debug: LogMethod;
  readonly info: LogMethod;
  readonly warn: LogMethod;
  readonly error: LogMethod;
  /** A logger that adds these fields to everything it logs. */
  child(fields: LogFields): Logger;
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error';
const LEVELS: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error'];

const nothing: LogMethod = () => undefined;

/** Logs nothing: the default. */
export const silentLogger: Logger = {
  trace: nothing,
  debug: nothing,
  info: nothing,
  warn: nothing,
  error: nothing,
  child: () => silentLogger,
};

/** Writes one JSON object per line to stderr, so that stdout stays the program's own; `write` redirects it. */
export function consoleLogger(
  level: LogLevel = 'info',
  write: (line: string) => void = (line) => process.stderr.write(`${line}\n`),
): Logger {
  return jsonLogger(LEVELS.indexOf(level), {}, write);
}

function jsonLogger(threshold: number, bound: LogFields, write: (line: string) => void): Logger {
  const at = (level: LogLevel): LogMethod => {
    if (LEVELS.indexOf(level) < threshold) return nothing;
    return (first: LogFields | string, message?: string) => {
      const fields = typeof first === 'string' ? {} : first;
      const msg = typeof first === 'string' ? first : message;
      write(line({ time: new Date().toISOString(), level, ...bound, ...fields, msg }));
    };
  };
  return {
    trace: at('trace'),
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => jsonLogger(threshold, { ...bound, ...fields }, write),
  };
}

/** Logging must not throw for what JSON can't hold: a value inside itself becomes a mark. */
function line(entry: LogFields): string {
  const above: { readonly original: object; readonly shown: object }[] = [];
  return JSON.stringify(entry, function (this: unknown, _key, value: unknown) {
    if (typeof value === 'bigint') return value.toString();
    if (typeof value !== 'object' || value === null) return value;
    // `this` holds the value: what was pushed after it belongs to branches that are done.
    while (above.length > 0 && above.at(-1)?.shown !== this) above.pop();
    if (above.some(({ original }) => original === value)) return '[circular]';
    const shown = value instanceof Error ? errorFields(value) : value;
    above.push({ original: value, shown });
    return shown;
  });
}

function errorFields(error: Error): LogFields {
  return {
    type: error.name,
    message: error.message,
    ...(error instanceof PartitaError ? { code: error.code, details: error.details } : {}),
    stack: error.stack,
    ...(error.cause === undefined ? {} : { cause: error.cause }),
  };
}
