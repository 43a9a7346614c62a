/**
 * `collect`: all values of a window in order of arrival. The state holds the newest ones; what is full goes into blocks
 * beside the window's row, so that an add never rewrites what a window has collected. It never deletes a block; the store
 * does, with the window (`blocks`).
 */
import { appended, EMPTY_LIST, type HeldList, listOf } from './aggregation-kept.js';
import { NUMBER_BYTES } from './aggregation-numbers.js';
import { aggregation } from './aggregation-parts.js';
import type { Aggregation, Blocks } from './aggregations.js';
import { keeperOf, type Keeper } from './held-values.js';
import type { Serde } from './serde.js';

/** Values in the tail at most: with the 64th it becomes a block. */
export const TAIL_ITEMS_MAX = 64;
/** A tail whose bound exceeds this becomes a block with fewer values, as it is written again with each of them. */
const TAIL_BYTES_MAX = 64 * 1024;

interface Collected {
  /** Ids of blocks in the order of their values, all before those of the tail. */
  readonly ids: readonly number[];
  readonly tail: HeldList;
}

const NOTHING: Collected = Object.freeze({ ids: Object.freeze([]), tail: EMPTY_LIST });

export function collect<V, R>(serde: Serde<V>, of?: (value: V) => R): Aggregation<V, readonly R[]> {
  const keeper = keeperOf('collect', serde, of);
  return aggregation<Collected, V, readonly R[]>({
    kind: `collect${keeper.suffix}`,
    initial: () => NOTHING,
    add: ({ ids, tail }, value, _timestamp, blocks) =>
      emptiedIfFull(keeper, { ids, tail: appended(tail, keeper.hold(value)) }, blocks),
    result: ({ ids, tail }, blocks) => {
      const values: R[] = [];
      for (const id of ids)
        for (const packed of blocks.read(id)) values.push(keeper.value(keeper.unpack(packed)));
      for (const held of tail.list) values.push(keeper.value(held));
      return Object.freeze(values);
    },
    merge: (a, b, blocks) => joined(keeper, a, b, blocks),
    admit: ({ ids, tail }) => tail.bound + (NUMBER_BYTES + 1) * ids.length + 5,
    pack: ({ ids, tail }) => [ids, tail.list.map(keeper.pack)],
    unpack: (packed) => {
      const [ids, tail] = packed as [number[], unknown[]];
      return { ids, tail: listOf(tail.map(keeper.unpack)) };
    },
    blocks: ({ ids }) => ids,
  });
}

/** The values of `a`, then those of `b`; blocks of both stay as they are, so that one of a merge may be short. */
function joined<V, R>(keeper: Keeper<V, R>, a: Collected, b: Collected, blocks: Blocks): Collected {
  if (b.ids.length === 0) {
    let state = a;
    for (const held of b.tail.list)
      state = emptiedIfFull(keeper, { ids: state.ids, tail: appended(state.tail, held) }, blocks);
    return state;
  }
  const { ids } = a.tail.list.length === 0 ? a : emptied(keeper, a, blocks);
  return { ids: [...ids, ...b.ids], tail: b.tail };
}

function emptiedIfFull<V, R>(keeper: Keeper<V, R>, state: Collected, blocks: Blocks): Collected {
  const { list, bound } = state.tail;
  return list.length >= TAIL_ITEMS_MAX || bound > TAIL_BYTES_MAX ? emptied(keeper, state, blocks) : state;
}

function emptied<V, R>(keeper: Keeper<V, R>, { ids, tail }: Collected, blocks: Blocks): Collected {
  const packed = Object.freeze(tail.list.map(keeper.pack));
  return { ids: [...ids, blocks.write(packed)], tail: EMPTY_LIST };
}
