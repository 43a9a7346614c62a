/**
 * What a processor's declaration says about its config and stores, against what an actor was given and what its database
 * holds. Pure but for the warning; the stores themselves are `state/state-store.ts`.
 */
import {
  decodeCheckpointRecord,
  type CheckpointRecord,
  type StoreForm,
} from '../changelog/checkpoint-record.js';
import { PartitaError } from '../core/errors.js';
import type { AnyDefinition } from '../processor/define-processor.js';
import type { Serde } from '../processor/serde.js';
import { timerFamily } from '../processor/timers.js';
import type { WindowedDeclaration } from '../processor/windowed.js';
import { traitsOf } from '../processor/serde.js';
import { storesOf } from '../processor/tables.js';
import { timestampedParameters } from '../processor/timestamped.js';
import type { ActorSpec, ActorUplink } from '../threads/protocol.js';

/** Kind of a timer among the forms of stores. */
const TIMER = 'timer';

/** @throws PartitaError INVALID_OPTIONS */
export function parseConfig(definition: AnyDefinition, spec: ActorSpec): unknown {
  if (definition.config === undefined) return spec.config;
  try {
    return definition.config.parse(spec.config);
  } catch (cause) {
    throw new PartitaError('INVALID_OPTIONS', `The config of the stream ${spec.id.stream} is not valid.`, {
      cause,
    });
  }
}

/** Timers are scheduled by the keys of the first input. */
export function timerKeySerde(definition: AnyDefinition): Serde<unknown> {
  return Object.values(definition.inputs)[0]!.key as Serde<unknown>;
}

/** What stands in the checkpoint record about the declared stores and timers. */
export function storeForms(definition: AnyDefinition): CheckpointRecord['stores'] {
  const timer = { kind: TIMER, key: traitsOf(timerKeySerde(definition)).name, value: 'json' };
  const timers = Object.keys(definition.timers ?? {}).map((name) => [timerFamily(name), timer] as const);
  return { ...formsOfStores(definition), ...Object.fromEntries(timers) };
}

function formsOfStores(definition: AnyDefinition): CheckpointRecord['stores'] {
  return Object.fromEntries(
    Object.entries(storesOf(definition)).map(([name, declared]) => {
      const { kind, key, value } = declared as unknown as {
        readonly kind: string;
        readonly key: Serde<unknown>;
        readonly value: Serde<unknown>;
      };
      const form = { kind, key: traitsOf(key).name, value: traitsOf(value).name };
      const parameters = PARAMETERS[kind]?.(declared);
      return [name, parameters === undefined ? form : { ...form, parameters }];
    }),
  );
}

/** By kind of store: canonical JSON of what must not change over existing state. */
const PARAMETERS: Readonly<Record<string, (declared: unknown) => string>> = {
  windowed: windowParameters,
  timestamped: timestampedParameters,
};

/** What a window's state means: another definition over it would be another sum. */
function windowParameters(declared: unknown): string {
  const { window, graceMs, closing, keyClockRetentionMs, aggregations } = declared as WindowedDeclaration<
    unknown,
    unknown,
    unknown
  >;
  const aggregate = Object.entries(aggregations).map(([name, { kind }]) => [name, kind]);
  return JSON.stringify({ window, graceMs, closing, keyClockRetentionMs, aggregate });
}

/**
 * A store that is not declared any more is kept, with a warning.
 * @throws PartitaError STORE_INCOMPATIBLE for one that is declared as another kind, or with other serdes
 */
export function checkStores(
  checkpointRecord: Uint8Array | undefined,
  declared: Readonly<Record<string, StoreForm>>,
  spec: ActorSpec,
  uplink: ActorUplink,
): void {
  if (checkpointRecord === undefined) return;
  const { stream } = spec.id;
  const where = `${stream}-${String(spec.id.partition)}`;
  const { stores } = decodeCheckpointRecord(checkpointRecord, where);
  for (const [name, stored] of Object.entries(stores)) {
    const now = declared[name];
    if (now === undefined)
      uplink.event({
        type: 'warning',
        message:
          stored.kind === TIMER
            ? `The timer ${name.slice(timerFamily('').length)} of ${where} is not declared any more; what was scheduled is kept, and does not fire.`
            : `The store ${name} of ${where} is not declared any more; its entries are kept.`,
        details: { stream, store: name },
      });
    else if (
      now.kind !== stored.kind ||
      now.key !== stored.key ||
      now.value !== stored.value ||
      now.parameters !== stored.parameters
    )
      throw new PartitaError(
        'STORE_INCOMPATIBLE',
        `The store ${name} of ${where} holds ${shown(stored)} and is declared as ${shown(now)}; give the changed store another name, or reset it (resetStores).`,
        { details: { stream, store: name } },
      );
  }
}

function shown({ kind, key, value, parameters }: StoreForm): string {
  return `${kind} (${key} → ${value}${parameters === undefined ? '' : `, ${parameters}`})`;
}
