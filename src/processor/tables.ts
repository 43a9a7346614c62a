/**
 * Tables: inputs of which a store keeps the latest value of each key. Declared among the inputs, read among the stores; this
 * is where the two meet. `actor/record-processor.ts` fills them.
 */
import type { AnyTopic, ReadonlyKeyValue, StoreDeclaration, Stores, Topic, Topics } from './declarations.js';

/** An input that is kept as a table instead of being processed. */
export interface Table<K, V> extends Topic<K, V> {
  readonly kind: 'table';
}

/**
 * Declares an input, usually a compacted topic, whose latest value of each key is kept in a store named like the input. A
 * record with a null value deletes its key, one with a null key is skipped. Its records do not reach `process`. It is read
 * from the beginning, whatever `startFrom` says.
 */
export function table<K, V>(declaration: Topic<K, V>): Table<K, V> {
  return { ...declaration, kind: 'table' };
}

/* eslint-disable @typescript-eslint/no-explicit-any -- inference over declarations of any key and value */
/** The stores that the tables among the inputs are read from. */
export type TablesOf<I> = {
  readonly [N in keyof I as I[N] extends Table<any, any> ? N : never]: I[N] extends Table<infer K, infer V>
    ? StoreDeclaration<ReadonlyKeyValue<K, V>, ReadonlyKeyValue<K, V>>
    : never;
};
/* eslint-enable @typescript-eslint/no-explicit-any */

export function isTable(topic: AnyTopic): boolean {
  return (topic as { readonly kind?: unknown }).kind === 'table';
}

/** What a record of the input may have as its value: null deletes from a table. */
export type InputValue<T, V> = T extends { readonly kind: 'table' } ? V | null : V;

/** All stores of a processor: those that it declares, and its tables. */
export function storesOf(definition: { readonly inputs: Topics; readonly stores?: Stores }): Stores {
  const tables = Object.entries(definition.inputs)
    .filter(([, topic]) => isTable(topic))
    .map(([name, { key, value }]) => [name, { kind: 'table', key, value }] as const);
  return { ...definition.stores, ...Object.fromEntries(tables) };
}
