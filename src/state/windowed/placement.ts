/**
 * Which windows an event goes to, for each kind (docs/decisions/0008-windows.md): places the event in the working copy of
 * its key and says what became of which window. It knows nothing of indexes, triggers and emission.
 */
import type { Window } from '../../processor/windowed.js';
import type { KeyWindows } from './key-windows.js';
import type { WindowState } from './window-state.js';

/** What came of one event, in the order of the windows' ends. */
export interface Placed {
  /** Windows that it joined. */
  readonly changed: WindowState[];
  /** Windows by count that it filled: they are closed and gone. */
  readonly filled: WindowState[];
  /** Windows that had closed before it. */
  readonly missed: { readonly startMs: number; readonly endMs: number }[];
}

/** An event on its way into the windows of its key; one object serves all. */
export interface Arrival {
  readonly windows: KeyWindows;
  value: unknown;
  timestamp: number;
  watermark: number;
}

export interface Placement {
  /** Windows with such an end are closed from this watermark on; Infinity: time does not close them. */
  readonly closesAt: (end: number) => number;
  /** How long a closed window stays, because others may begin as its copy. */
  readonly keepsMs: number;
  place(arrival: Arrival, placed: Placed): void;
}

export function placementOf(window: Window, graceMs: number): Placement {
  switch (window.kind) {
    case 'tumbling':
      return steps(window.sizeMs, window.sizeMs, graceMs);
    case 'hopping':
      return steps(window.sizeMs, window.stepMs, graceMs);
    case 'sliding':
      return slides(window.sizeMs, graceMs);
    case 'session':
      return sessions(window.gapMs, graceMs);
    case 'count':
      return counts(window.count, window.step);
  }
}

/** Windows [start, start + size) at multiples of step. */
function steps(size: number, step: number, grace: number): Placement {
  const closesAt = (end: number) => end + grace;
  return {
    closesAt,
    keepsMs: 0,
    place({ windows, value, timestamp, watermark }, { changed, missed }) {
      const last = timestamp - (timestamp % step);
      // The first multiple of step above timestamp - size, but none below 0.
      const first = Math.max(0, last - Math.floor((size - 1 - (timestamp - last)) / step) * step);
      for (let start = first; start <= last; start += step) {
        const end = start + size;
        if (closesAt(end) <= watermark) missed.push({ startMs: start, endMs: end });
        else changed.push(joined(windows, start, end, value, timestamp));
      }
    },
  };
}

/** The window with this start, begun if there is none, with the event. */
function joined(
  windows: KeyWindows,
  start: number,
  end: number,
  value: unknown,
  timestamp: number,
): WindowState {
  const at = windows.position(start);
  const there = windows.has(at, start);
  const state = windows.added(there ? windows.state(at) : windows.empty(start, end), value, timestamp);
  if (there) windows.replace(at, state);
  else windows.insert(at, state);
  return state;
}

/**
 * Kafka Streams' KStreamSlidingWindowAggregate (KIP-450), on states that can be shared: a new window begins as the copy of
 * the one that holds exactly its events. Both ends are inclusive. Unlike there, windows that have closed go on in silence
 * (`done`) for as long as an open one may begin as their copy, so that a late event is in all windows that are open for it.
 */
function slides(size: number, grace: number): Placement {
  const closesAt = (end: number) => end + grace + 1;
  return {
    closesAt,
    // Up to when the window that begins after an event may still be begun.
    keepsMs: size + 1,
    place(arrival, placed) {
      const { windows, value, timestamp, watermark } = arrival;
      const leftStart = Math.max(0, timestamp - size);
      const put = (at: number, state: WindowState, isThere: boolean): void => {
        const done = closesAt(state.end) <= watermark;
        const kept = done ? { ...state, done, fresh: false } : state;
        if (isThere) windows.replace(at, kept);
        else windows.insert(at, kept);
        if (!done) placed.changed.push(kept);
      };
      const begin = (start: number, copied: WindowState | undefined, isIn: boolean): void => {
        const empty = windows.empty(start, start + size);
        const from = copied === undefined ? empty : { ...copied, id: start, end: start + size, fired: 0 };
        const state = isIn ? windows.added(from, value, timestamp) : { ...from, done: false, fresh: true };
        put(windows.position(start), state, false);
      };
      const around = lookAround(windows, timestamp, leftStart, size);
      const { before, over, previous } = around;
      for (let i = around.from; i < windows.length && windows.id(i) <= timestamp; i++) {
        const state = windows.state(i);
        if (state.end >= timestamp) put(i, windows.added(state, value, timestamp), true);
      }
      // Its own window, which holds what came up to `size` before it.
      if (!around.hasLeft) begin(leftStart, previous >= leftStart ? before : undefined, true);
      // The window that begins after the event before it: until now nothing was in it.
      const next = previous + 1;
      if (previous >= 0 && next + size >= timestamp && !windows.has(windows.position(next), next))
        begin(next, undefined, true);
      // The window that begins after it, if anything is in that.
      if (!around.hasRight && over !== undefined && over.maxTs > timestamp) begin(timestamp + 1, over, false);
      placed.changed.sort((a, b) => a.end - b.end);
      if (closesAt(leftStart + size) <= watermark)
        placed.missed.push({ startMs: leftStart, endMs: leftStart + size });
    },
  };
}

/** What stands around an event before it is added. */
interface Surroundings {
  /** The first position that can matter. */
  readonly from: number;
  /** The latest window that ends before the event. */
  readonly before: WindowState | undefined;
  /** The latest window that holds the event's time. */
  readonly over: WindowState | undefined;
  /** The largest timestamp before the event's, if it can matter; -1: none. */
  readonly previous: number;
  readonly hasLeft: boolean;
  readonly hasRight: boolean;
}

function lookAround(windows: KeyWindows, timestamp: number, leftStart: number, size: number): Surroundings {
  const from = windows.position(Math.max(0, timestamp - 1 - 2 * size));
  let before: WindowState | undefined;
  let over: WindowState | undefined;
  let previous = -1;
  for (let i = from; i < windows.length && windows.id(i) <= timestamp; i++) {
    const state = windows.state(i);
    if (state.end < timestamp) before = state;
    else over = state;
    if (state.maxTs < timestamp && state.maxTs > previous) previous = state.maxTs;
  }
  const hasLeft = windows.has(windows.position(leftStart), leftStart);
  const hasRight = windows.has(windows.position(timestamp + 1), timestamp + 1);
  return { from, before, over, previous, hasLeft, hasRight };
}

/** Events at most `gap` apart share a session; its id is its first timestamp, its end the last. */
function sessions(gap: number, grace: number): Placement {
  const closesAt = (end: number) => end + gap + grace + 1;
  return {
    closesAt,
    keepsMs: 0,
    place({ windows, value, timestamp, watermark }, { changed, missed }) {
      let session: WindowState | undefined;
      for (let i = windows.position(timestamp + gap + 1) - 1; i >= 0; i--) {
        const state = windows.state(i);
        if (closesAt(state.end) <= watermark || state.end + gap < timestamp) continue;
        windows.remove(i, true);
        session = session === undefined ? state : windows.merged(state, session);
      }
      if (session === undefined && closesAt(timestamp) <= watermark) {
        missed.push({ startMs: timestamp, endMs: timestamp });
        return;
      }
      const from = session ?? windows.empty(timestamp, timestamp);
      const id = Math.min(from.id, timestamp);
      const end = Math.max(from.end, timestamp);
      const joint = windows.added({ ...from, id, end }, value, timestamp);
      windows.insert(windows.position(id), joint);
      changed.push(joint);
    },
  };
}

/** A window of `count` events begins with every step-th one; its id is the number of its first event. */
function counts(count: number, step: number): Placement {
  return {
    closesAt: () => Infinity,
    keepsMs: 0,
    place({ windows, value, timestamp }, { changed, filled }) {
      const number = windows.nextEvent++;
      const last = number - (number % step);
      const first = Math.max(0, last - Math.floor((count - 1 - (number - last)) / step) * step);
      for (let id = first; id <= last; id += step) {
        const at = windows.position(id);
        const there = windows.has(at, id);
        const added = windows.added(
          there ? windows.state(at) : windows.empty(id, timestamp),
          value,
          timestamp,
        );
        const state = { ...added, end: added.maxTs };
        if (number - id + 1 === count) {
          if (there) windows.remove(at);
          filled.push(state);
          continue;
        }
        if (there) windows.replace(at, state);
        else windows.insert(at, state);
        changed.push(state);
      }
    },
  };
}
