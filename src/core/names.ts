/** Names of groups, streams, stores and timers, and the names in the log and on disk that are derived (semantics.md 1). */
import { PartitaError } from './errors.js';

const NAME = /^[A-Za-z0-9._-]{1,80}$/;
/** Kafka's limit on topic names; transactional ids share it here. */
const LOG_NAME_LENGTH_MAX = 249;

/** @throws PartitaError INVALID_NAME */
export function checkName(what: 'group' | 'stream' | 'store' | 'timer' | 'instance', name: string): string {
  if (!NAME.test(name) || name === '.' || name === '..' || name.includes('--'))
    throw new PartitaError(
      'INVALID_NAME',
      `The ${what} name ${JSON.stringify(name)} must be 1 to 80 of A-Z a-z 0-9 . _ - without "--", and not "." or "..".`,
      { details: { what, name } },
    );
  return name;
}

/** `changelog__<group>--<stream>` */
export function changelogTopic(group: string, stream: string): string {
  return checkLength(`changelog__${group}--${stream}`);
}

/** `<group>--<stream>--<partition>` */
export function transactionalId(group: string, stream: string, partition: number): string {
  return checkLength(`${group}--${stream}--${String(partition)}`);
}

/** Where somebody says that they wait for the database of another process: beside its directory, and only meanwhile. */
export function wantedNote(directory: string): string {
  return `${directory}.wanted`;
}

function checkLength(name: string): string {
  if (name.length > LOG_NAME_LENGTH_MAX)
    throw new PartitaError(
      'INVALID_NAME',
      `The name ${name} is longer than the log's limit of ${String(LOG_NAME_LENGTH_MAX)}; rename the group or the stream to something shorter.`,
    );
  return name;
}
