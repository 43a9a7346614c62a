/**
 * Why a database can't be used as it is: what its `partita.json` says, against what is wanted now. Decisions only, about
 * files that somebody else has read (`format-file.ts`); what becomes of the database is `store-partition.ts`.
 */
import { FORMAT_VERSION, type DatabaseFormat, type FormatFound } from './format-file.js';

/**
 * `corrupt`: damaged. `engine`: written by another engine. `format`: in a format this version doesn't know. `topicId`: for a
 * changelog that is not the one there is now; this one alone is open and may be read, rebuilt, or taken over.
 */
export interface PartitionMismatch {
  readonly kind: 'corrupt' | 'engine' | 'format' | 'topicId';
  readonly message: string;
}

/** `undefined`: it fits, or there is none yet. */
export function compareFormat(
  found: Exclude<FormatFound, 'invalid'>,
  wanted: DatabaseFormat,
  directory: string,
): PartitionMismatch | undefined {
  if (found === undefined) return undefined;
  if (found.engine === undefined)
    return {
      kind: 'format',
      message: `The database in ${directory} has format ${found.formatVersion}; this version knows format ${FORMAT_VERSION}.`,
    };
  if (found.engine !== wanted.engine)
    return {
      kind: 'engine',
      message: `The database in ${directory} was written by the engine "${found.engine}"; the engine is now "${wanted.engine}".`,
    };
  const bothKnown = found.changelogTopicId !== '' && wanted.changelogTopicId !== '';
  if (bothKnown && found.changelogTopicId !== wanted.changelogTopicId)
    return {
      kind: 'topicId',
      message: `The database in ${directory} belongs to the changelog with topic id ${found.changelogTopicId}; the topic now has id ${wanted.changelogTopicId}.`,
    };
  return undefined;
}
