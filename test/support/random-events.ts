/**
 * Histories for the oracles of windows, TTL, as-of stores and joins, as fast-check makes and shrinks them: records in disorder,
 * with ties, gaps, timestamps of zero and of the far future, awkward keys and nulls, and what happens to the actor between them.
 * It judges nothing: that is for the models (`windows-model.ts` and its neighbours).
 */
import fc from 'fast-check';
import type { ModelEvent, ModelKind, ModelTrigger, ModelWindows } from './windows-model.js';

/** Keys that begin with or contain each other, with bytes that separators are made of, and beyond ASCII. */
export const KEYS = ['a', 'ab', 'a\0', 'b', '', 'é', '\u{1F600}', '\uFFFF'] as const;

/** The largest date there is; with a size and a grace it is still an exact number. */
export const FAR_FUTURE_MS = 8_640_000_000_000_000;

/** What may happen between two records. */
export type Interruption =
  /** A checkpoint. */
  | 'commit'
  /** The end of the actor without a word, and a new one over what is committed. */
  | 'crash'
  /** The same, with its files gone: the new one has the changelog only. */
  | 'crashAndWipe'
  /** A checkpoint and a new actor over the same files. */
  | 'reopen'
  /** The log compacts the changelog. */
  | 'compact'
  /** The same after so long that tombstones of earlier compactions are dropped. */
  | 'compactLate';

export type Step<E = ModelEvent> =
  { readonly do: 'event'; readonly event: E } | { readonly do: Interruption };

export type History<E = ModelEvent> = readonly Step<E>[];

export interface HistoryOptions {
  /** How many steps at most. @default 60 */
  readonly stepsMax?: number;
  /** How many of `KEYS` take part. @default 4 */
  readonly keysMax?: number;
  /** How far time usually goes from record to record; a disorder goes back some of these, a gap forward many. @default 4 */
  readonly paceMs?: number;
  /** Whether there are timestamps of the far future. @default true */
  readonly farFuture?: boolean;
  /** Whether there are negative timestamps. @default false */
  readonly negative?: boolean;
  /** Whether there are records without a key, which add nothing. @default true */
  readonly unkeyed?: boolean;
  /** Whether the changelog is compacted in between. @default false */
  readonly compactions?: boolean;
}

/** How one timestamp follows from those before it. */
type Move =
  | { readonly to: number }
  /** On from the time that the history has come to, which becomes that of this record. */
  | { readonly on: number }
  /** Back from it, which changes nothing for the next. */
  | { readonly back: number };

function randomMove({ paceMs = 4, farFuture = true, negative = false }: HistoryOptions): fc.Arbitrary<Move> {
  return fc.oneof(
    { weight: 90, arbitrary: fc.integer({ min: 0, max: paceMs }).map((on) => ({ on })) },
    { weight: 36, arbitrary: fc.integer({ min: 1, max: 8 * paceMs }).map((back) => ({ back })) },
    { weight: 9, arbitrary: fc.integer({ min: 4 * paceMs, max: 40 * paceMs }).map((on) => ({ on })) },
    { weight: 2, arbitrary: fc.constant({ on: 100_000 * paceMs }) },
    { weight: 3, arbitrary: fc.constant({ to: 0 }) },
    ...(farFuture ? [{ weight: 1, arbitrary: fc.constant({ to: FAR_FUTURE_MS }) }] : []),
    ...(negative ? [{ weight: 4, arbitrary: fc.integer({ min: -50, max: -1 }).map((to) => ({ to })) }] : []),
  );
}

/** Timestamps of moves, one after another from zero. */
function timestampsOf(moves: readonly Move[]): number[] {
  let now = 0;
  return moves.map((move) => {
    if ('to' in move) return move.to;
    if ('back' in move) return Math.max(0, now - move.back);
    now += move.on;
    return now;
  });
}

/** Small whole numbers, whose sums are exact in whatever order, and nulls. */
export const randomValue: fc.Arbitrary<number | null> = fc.oneof(
  { weight: 9, arbitrary: fc.integer({ min: -5, max: 20 }) },
  { weight: 1, arbitrary: fc.constant(null) },
);

const PLAIN = ['commit', 'commit', 'crash', 'crashAndWipe', 'reopen'] as const;
/** A compaction is worth something only if files get lost after it. */
const COMPACTING = [...PLAIN, 'commit', 'crashAndWipe', 'compact', 'compact', 'compactLate'] as const;

/** A history whose events are `ModelEvent`s and what `more` makes besides. */
export function randomHistory<M extends object = object>(
  options: HistoryOptions = {},
  more: fc.Arbitrary<M> = fc.constant({} as M),
): fc.Arbitrary<History<ModelEvent & M>> {
  const { stepsMax = 60, keysMax = 4, unkeyed = true, compactions = false } = options;
  const interruption = fc.constantFrom<Interruption>(...(compactions ? COMPACTING : PLAIN));
  // The keys are shuffled, so that over many histories all of them meet each other.
  return fc.shuffledSubarray([...KEYS], { minLength: 1, maxLength: keysMax }).chain((keys) => {
    const key = fc.oneof(
      { weight: 20, arbitrary: fc.constantFrom<string | null>(...keys) },
      ...(unkeyed ? [{ weight: 1, arbitrary: fc.constant(null) }] : []),
    );
    const event = fc.record({ key, value: randomValue, move: randomMove(options), more });
    const step = fc.oneof(
      { weight: compactions ? 5 : 8, arbitrary: event },
      { weight: 1, arbitrary: interruption },
    );
    return fc.array(step, { maxLength: stepsMax, size: 'max' }).map((steps) => {
      const moves = steps.flatMap((drawn) => (typeof drawn === 'string' ? [] : [drawn.move]));
      const timestamps = timestampsOf(moves).values();
      return steps.map((drawn): Step<ModelEvent & M> => {
        if (typeof drawn === 'string') return { do: drawn };
        const timestamp = timestamps.next().value!;
        return { do: 'event', event: { ...drawn.more, key: drawn.key, value: drawn.value, timestamp } };
      });
    });
  });
}

/** The events of a history, without what happens between them. */
export function eventsOf<E>(history: History<E>): E[] {
  return history.flatMap((step) => (step.do === 'event' ? [step.event] : []));
}

const small = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });

/** A definition of windows of this kind, with bounds that the histories meet often. */
export function randomWindows(kind: ModelKind): fc.Arbitrary<ModelWindows> {
  const trigger = fc.record({
    of: fc.oneof(
      small(1, 4).map((count) => ({ count })),
      small(0, 30).map((whenSumAtLeast) => ({ whenSumAtLeast })),
    ),
    closes: fc.boolean(),
  });
  return fc
    .record({
      shape: randomShape(kind),
      graceMs: fc.constantFrom(0, 0, 1, 5, 20),
      closing: fc.constantFrom('key', 'partition'),
      keyClockRetentionMs: fc.constantFrom(10, 40, 200, 604_800_000),
      emission: fc.constantFrom('final', 'updates'),
      trigger: fc.option(trigger, { freq: 4, nil: undefined }),
    })
    .map(({ shape, trigger: drawn, ...rest }): ModelWindows => {
      const windows = { kind, ...shape, ...rest };
      if (drawn === undefined) return windows;
      // A sliding window is a copy of another: no trigger closes it.
      const chosen: ModelTrigger = { ...drawn.of, closes: drawn.closes && kind !== 'sliding' };
      return { ...windows, trigger: chosen };
    });
}

function randomShape(kind: ModelKind): fc.Arbitrary<Partial<ModelWindows>> {
  switch (kind) {
    case 'tumbling':
    case 'sliding':
      return small(1, 20).map((sizeMs) => ({ sizeMs }));
    case 'hopping':
      return small(2, 20).chain((sizeMs) =>
        small(Math.max(1, Math.floor(sizeMs / 5)), sizeMs - 1).map((stepMs) => ({ sizeMs, stepMs })),
      );
    case 'session':
      return small(1, 12).map((gapMs) => ({ gapMs }));
    case 'countHopping':
      return small(2, 5).chain((count) => small(1, count - 1).map((step) => ({ count, step })));
    case 'count':
      return small(1, 5).map((count) => ({ count }));
    case 'countSliding':
      return small(2, 5).map((count) => ({ count }));
  }
}
