/**
 * Owns Kafka's jars in the user's cache folder: fetches one version from Maven Central once, under a lock that two test
 * processes share. It never starts anything; kafka-node.ts, which comes next, runs what lies here.
 */
import { execFile, spawnSync } from 'node:child_process';
import { existsSync, statSync, utimesSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, rmdir, writeFile } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const DOWNLOAD_BUDGET_MS = 240_000;
/** A holder touches its lock every second; one that has not for so long is dead. */
const LOCK_STALE_MS = 15_000;
const JAVA_VERSION_MIN = 17;

/** The folder that holds what tests download, shared by all checkouts of this user. */
export function testCache(): string {
  const base = process.env['XDG_CACHE_HOME'];
  return join(base === undefined || base === '' ? join(homedir(), '.cache') : base, 'partita-tests');
}

/** Why no broker of `version` can run on this machine, or `undefined` if one can. */
export function brokerMissing(version: string): string | undefined {
  const java = spawnSync('java', ['-version'], { encoding: 'utf8' });
  if (java.status !== 0) return 'java is not installed';
  const found = Number(/version "(\d+)/.exec(java.stderr)?.[1]);
  if (!(found >= JAVA_VERSION_MIN)) return `java ${JAVA_VERSION_MIN} or later is needed`;
  if (existsSync(jarsFolder(version))) return undefined;
  return spawnSync('mvn', ['--version']).status === 0 ? undefined : 'mvn is not installed';
}

/** The folder with the jars of this version of Kafka; downloads them if nobody has. */
export async function kafkaJars(version: string): Promise<string> {
  const folder = jarsFolder(version);
  await once(folder, async (temporary) => {
    process.stderr.write(`Downloading Kafka ${version} (about 43 MB, once) to ${folder}\n`);
    await writeFile(join(temporary, 'pom.xml'), pom(version));
    const jars = join(temporary, 'jars');
    await promisify(execFile)(
      'mvn',
      ['-q', '-B', 'dependency:copy-dependencies', '-DincludeScope=runtime', `-DoutputDirectory=${jars}`],
      { cwd: temporary, timeout: DOWNLOAD_BUDGET_MS },
    );
    return jars;
  });
  return folder;
}

/**
 * Makes `folder` (or file) exactly once, also when several processes ask at the same time. `make` builds it in a temporary folder
 * and returns the part that becomes `folder` by one rename, so whoever sees `folder` sees all of it.
 */
export async function once(folder: string, make: (temporary: string) => Promise<string>): Promise<void> {
  if (existsSync(folder)) return;
  await mkdir(dirname(folder), { recursive: true });
  const lock = `${folder}.lock`;
  if (!(await locked(lock, folder))) return;
  const alive = setInterval(() => {
    // The lock may have been taken away from us while this process was suspended: the rename below settles that.
    if (existsSync(lock)) utimesSync(lock, new Date(), new Date());
  }, 1_000);
  const temporary = await mkdtemp(`${folder}.tmp-`);
  try {
    const made = await make(temporary);
    await rename(made, folder).catch((error: unknown) => {
      if (!existsSync(folder)) throw error;
    });
  } finally {
    clearInterval(alive);
    await rm(temporary, { recursive: true, force: true });
    await rm(lock, { recursive: true, force: true });
  }
}

/** True once this process holds the lock; false if another one has made `folder` meanwhile. */
async function locked(lock: string, folder: string): Promise<boolean> {
  const deadline = Date.now() + DOWNLOAD_BUDGET_MS;
  while (Date.now() < deadline) {
    if (existsSync(folder)) return false;
    try {
      await mkdir(lock);
      return true;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    }
    const touched = statSync(lock, { throwIfNoEntry: false })?.mtimeMs;
    if (touched !== undefined && Date.now() - touched > LOCK_STALE_MS)
      await rmdir(lock).catch((error: unknown) => {
        // Another waiter was faster.
        if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
      });
    else await sleep(200);
  }
  throw new Error(`Waited ${DOWNLOAD_BUDGET_MS} ms for ${lock}, whose holder still lives.`);
}

function jarsFolder(version: string): string {
  return join(testCache(), `kafka-${version}`);
}

function pom(version: string): string {
  const dependency = (group: string, artifact: string, number: string): string =>
    `<dependency><groupId>${group}</groupId><artifactId>${artifact}</artifactId><version>${number}</version></dependency>`;
  return `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>test</groupId><artifactId>kafka-broker</artifactId><version>1</version><packaging>pom</packaging>
<dependencies>
${dependency('org.apache.kafka', 'kafka_2.13', version)}
${dependency('org.slf4j', 'slf4j-simple', '1.7.36')}
</dependencies></project>
`;
}
