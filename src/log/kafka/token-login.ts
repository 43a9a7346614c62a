/**
 * Logs in by OAUTHBEARER in the place of kafkajs' own way, which takes a refused token for an accepted one: the broker
 * says why in an answer of its own, and fails the login only when that was acknowledged (RFC 7628, 3.2.3). It never logs
 * or keeps a token. Loaded by `kafkajs-internals.ts`.
 */
import type { SASLOptions } from 'kafkajs';
import { describeError, PartitaError } from '../../core/errors.js';
import { BrokerAnswerError } from './kafka-errors.js';

/** kafkajs' hook for one login: it sends bytes and gives what the broker answers, behind its length. */
interface LoginHooks {
  readonly host: string;
  readonly port: number;
  saslAuthenticate(exchange: {
    readonly request: { encode(): Promise<Buffer> };
    readonly response: { decode(bytes: Buffer): Promise<Buffer>; parse(bytes: Buffer): Promise<Buffer> };
  }): Promise<Buffer>;
}

type TokenOptions = Extract<SASLOptions, { mechanism: 'oauthbearer' }>;

const SEPARATOR = '\u0001';
const LENGTH_BYTES = 4;

/** SASL options that kafkajs takes with a login of our own, for OAUTHBEARER; others as they are, in a copy. */
export function loginOptions(sasl: SASLOptions): object {
  // kafkajs caches its authenticator on this object: each connection has its own.
  if (sasl.mechanism !== 'oauthbearer') return { ...sasl };
  return {
    mechanism: sasl.mechanism,
    authenticationProvider: (hooks: LoginHooks) => ({ authenticate: () => logIn(sasl, hooks) }),
  };
}

async function logIn(sasl: TokenOptions, hooks: LoginHooks): Promise<void> {
  const { value, extensions = {} } = await askForToken(sasl, hooks);
  const fields = [`auth=Bearer ${value}`, ...Object.entries(extensions).map(([name, is]) => `${name}=${is}`)];
  const refused = await exchange(hooks, ['n,,', ...fields, '', ''].join(SEPARATOR));
  if (refused.length === 0) return;
  // The broker's answer to this is the failure itself; another one means the same.
  await exchange(hooks, SEPARATOR);
  throw new BrokerAnswerError('SASL_AUTHENTICATION_FAILED', 'The broker refused the token.');
}

/** What the function throws may pass, so it is asked again as for a broker that does not answer. */
async function askForToken(
  sasl: TokenOptions,
  { host, port }: LoginHooks,
): Promise<{ readonly value: string; readonly extensions?: Readonly<Record<string, string>> }> {
  let token: Awaited<ReturnType<TokenOptions['oauthBearerProvider']>> & {
    readonly extensions?: Readonly<Record<string, string>>;
  };
  try {
    token = await sasl.oauthBearerProvider();
  } catch (error) {
    throw new PartitaError(
      'LOG_UNAVAILABLE',
      `sasl.oauthBearerProvider gave no token for the broker ${host}:${port}: ${describeError(error)}`,
      { cause: error, details: { broker: `${host}:${port}` } },
    );
  }
  if (typeof (token as { value?: unknown } | undefined)?.value !== 'string')
    throw new PartitaError(
      'LOG_AUTHENTICATION_FAILED',
      'sasl.oauthBearerProvider must resolve to an object whose `value` is the token.',
    );
  return token;
}

function exchange(hooks: LoginHooks, text: string): Promise<Buffer> {
  return hooks.saslAuthenticate({
    request: {
      encode: async () => {
        const bytes = Buffer.from(text);
        const length = Buffer.alloc(LENGTH_BYTES);
        length.writeInt32BE(bytes.length, 0);
        return Buffer.concat([length, bytes]);
      },
    },
    response: { decode: async (bytes) => bytes.subarray(LENGTH_BYTES), parse: async (bytes) => bytes },
  });
}
