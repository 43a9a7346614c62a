/**
 * Owns what a secured broker needs: certificates made by the JDK's keytool for this one broker, its users, and the
 * configs that name them. It never opens a connection; kafka-broker.ts, which comes next, starts a broker with it.
 */
import { execFile } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const KEYTOOL_BUDGET_MS = 30_000;
const PASSWORD = 'partita-test';
const TOKEN_LIFE_SECONDS = 3_600;

export interface KafkaUser {
  readonly username: string;
  readonly password: string;
}

export interface SaslMaterial {
  /** The certificate that has signed the others, as PEM: `ssl: { ca: [ca] }` of a client. */
  readonly ca: string;
  readonly users: { readonly plain: KafkaUser; readonly scram: KafkaUser };
  /** A client's certificate and key, as `tls.connect` takes them: `ssl: { ca, pfx, passphrase }`. */
  readonly clientCertificate: { readonly pfx: Buffer; readonly passphrase: string };
  /** A fresh unsecured JWT, for OAUTHBEARER. */
  oauthToken(subject?: string): string;
  readonly configs: Readonly<Record<string, string>>;
  readonly formatArguments: readonly string[];
}

/** Makes everything inside `directory`. */
export async function saslMaterial(directory: string): Promise<SaslMaterial> {
  await makeStores(directory);
  const users = {
    plain: { username: 'penelope', password: 'plain-secret' },
    scram: { username: 'stefan', password: 'scram-secret' },
  };
  const { username, password } = users.scram;
  return {
    ca: await readFile(join(directory, 'ca.pem'), 'utf8'),
    users,
    clientCertificate: { pfx: await readFile(join(directory, 'client.p12')), passphrase: PASSWORD },
    oauthToken,
    configs: { ...tlsConfigs(directory), ...saslConfigs(users.plain) },
    formatArguments: ['SCRAM-SHA-256', 'SCRAM-SHA-512'].flatMap((mechanism) => [
      '--add-scram',
      `${mechanism}=[name=${username},password=${password}]`,
    ]),
  };
}

/** ca.pem, and server.p12 and client.p12 with one key each: a store with several lets the broker choose the wrong one. */
async function makeStores(directory: string): Promise<void> {
  const all = join(directory, 'all.p12');
  const make = (alias: string, ...rest: readonly string[]): Promise<void> =>
    keytool('-genkeypair', '-keystore', all, '-alias', alias, '-dname', `CN=${alias}`, ...KEY, ...rest);
  await make('ca', '-ext', 'bc:c');
  await make('server', '-signer', 'ca', '-ext', 'san=dns:localhost,ip:127.0.0.1');
  await make('client', '-signer', 'ca');
  const split = (alias: string): Promise<void> =>
    keytool(
      ...['-importkeystore', '-srckeystore', all, '-srcstorepass', PASSWORD, '-srcalias', alias],
      ...['-destkeystore', join(directory, `${alias}.p12`), '-deststoretype', 'PKCS12', '-noprompt'],
    );
  await Promise.all([
    keytool('-exportcert', '-rfc', '-keystore', all, '-alias', 'ca', '-file', join(directory, 'ca.pem')),
    split('server'),
    split('client'),
  ]);
}

const KEY: readonly string[] = ['-keyalg', 'EC', '-groupname', 'secp256r1', '-validity', '3650'];

async function keytool(...command: readonly string[]): Promise<void> {
  const store = command.includes('-destkeystore') ? '-deststorepass' : '-storepass';
  await promisify(execFile)('keytool', ['-J-XX:TieredStopAtLevel=1', ...command, store, PASSWORD], {
    timeout: KEYTOOL_BUDGET_MS,
  });
}

function tlsConfigs(directory: string): Readonly<Record<string, string>> {
  return {
    'ssl.keystore.type': 'PKCS12',
    'ssl.keystore.location': join(directory, 'server.p12'),
    'ssl.keystore.password': PASSWORD,
    'ssl.key.password': PASSWORD,
    'ssl.truststore.type': 'PEM',
    'ssl.truststore.location': join(directory, 'ca.pem'),
    'listener.name.ssl.ssl.client.auth': 'required',
  };
}

function saslConfigs(plain: KafkaUser): Readonly<Record<string, string>> {
  const security = 'org.apache.kafka.common.security';
  const jaas = (mechanism: string): string => `listener.name.sasl_ssl.${mechanism}.sasl.jaas.config`;
  const scram = `${security}.scram.ScramLoginModule required;`;
  return {
    'sasl.enabled.mechanisms': 'PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER',
    [jaas('plain')]:
      `${security}.plain.PlainLoginModule required user_${plain.username}="${plain.password}";`,
    [jaas('scram-sha-256')]: scram,
    [jaas('scram-sha-512')]: scram,
    [jaas('oauthbearer')]:
      `${security}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";`,
    'listener.name.sasl_ssl.oauthbearer.sasl.server.callback.handler.class': `${security}.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler`,
  };
}

function oauthToken(subject = 'olivia'): string {
  const part = (value: object): string => Buffer.from(JSON.stringify(value)).toString('base64url');
  const now = Math.floor(Date.now() / 1_000);
  return `${part({ alg: 'none' })}.${part({ sub: subject, iat: now, exp: now + TOKEN_LIFE_SECONDS })}.`;
}
