/**
 * A logger of a worker thread: its lines cross to the manager's logger. Errors in fields become texts, since a line must
 * be cloneable; what can't be cloned is left out.
 */
import type { LogFields, Logger, LogMethod } from '../core/logger.js';
import type { SendLog } from './host-endpoint.js';
import type { LogLevel } from './host-methods.js';

export function portLogger(send: SendLog, bound: LogFields = {}): Logger {
  const at = (level: LogLevel): LogMethod => {
    return (first: LogFields | string, message?: string) => {
      const fields = typeof first === 'string' ? bound : { ...bound, ...first };
      send(level, plain(fields), typeof first === 'string' ? first : (message ?? ''));
    };
  };
  return {
    // Traces stay in the thread: there may be one per record.
    trace: () => undefined,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    child: (fields) => portLogger(send, { ...bound, ...fields }),
  };
}

function plain(fields: LogFields): Record<string, unknown> {
  const result: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) {
    if (value instanceof Error) result[name] = value.stack ?? value.message;
    else if (typeof value !== 'function' && typeof value !== 'symbol') result[name] = value;
  }
  return result;
}
