/**
 * What a windowed store must emit, call late and hold open, said from the definitions (docs/decisions/0008-windows.md) over
 * all events: for each prefix of them every window is worked out anew. It keeps nothing but what has been emitted, looks at no
 * store, and is slow. `random-events.ts` makes the histories that it judges.
 */

export interface ModelEvent {
  /** `null`: a record that adds nothing to the store; its time counts for the partition all the same. */
  readonly key: string | null;
  readonly value: number | null;
  /** Event time in ms. A negative one is an error of its record, which leaves no trace. */
  readonly timestamp: number;
}

export type ModelKind =
  'tumbling' | 'hopping' | 'sliding' | 'session' | 'count' | 'countHopping' | 'countSliding';

export interface ModelTrigger {
  /** As soon as so many events of a window have not been in an emission of this trigger. */
  readonly count?: number;
  /** At each change after which the sum is at least this. */
  readonly whenSumAtLeast?: number;
  readonly closes: boolean;
}

export interface ModelWindows {
  readonly kind: ModelKind;
  readonly sizeMs?: number;
  readonly stepMs?: number;
  readonly gapMs?: number;
  readonly count?: number;
  readonly step?: number;
  readonly graceMs: number;
  readonly closing: 'key' | 'partition';
  readonly keyClockRetentionMs: number;
  readonly emission: 'final' | 'updates';
  readonly trigger?: ModelTrigger;
}

export interface ModelResult {
  readonly n: number;
  /** Of the values that are numbers. */
  readonly sum: number;
  /** In order of arrival. */
  readonly values: readonly (number | null)[];
  /** The value with the smallest timestamp; of several the first to come. */
  readonly earliest: number | null;
  /** The value with the largest timestamp; of several the last to come. */
  readonly latest: number | null;
}

export interface ModelWindow {
  readonly key: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly result: ModelResult;
}

export interface ModelEmission extends ModelWindow {
  /** Index of the event that caused it. */
  readonly at: number;
  readonly closed: boolean;
  /** Of a record that the emission's handler emits. */
  readonly timestamp: number;
}

export interface ModelLate {
  readonly at: number;
  readonly key: string;
  readonly value: number | null;
  readonly timestamp: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly lateBy: number;
}

export interface ModelOutcome {
  /** In order. */
  readonly emissions: readonly ModelEmission[];
  readonly late: readonly ModelLate[];
  /** After the last event, by key bytes, end and age. */
  readonly open: readonly ModelWindow[];
}

/** What the definitions make of all events. */
export function modelOf(windows: ModelWindows, events: readonly ModelEvent[]): ModelOutcome {
  return new Model(windows, events).run();
}

/** The bytes of keys in order, as closings that are due together go. */
export function byKeyBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

interface Span {
  readonly startMs: number;
  readonly endMs: number;
}

/** A window after some event: which events are in it, and from which watermark on it is closed. */
interface Held extends Span {
  readonly key: string;
  /** Of spans their start, of what is begun by an event its index. */
  readonly id: number;
  readonly closesAt: number;
  /** Indices of events, ascending. */
  readonly members: readonly number[];
}

interface Emitted {
  readonly at: number;
  readonly of: Held;
  readonly closed: boolean;
  readonly because: 'change' | 'trigger' | 'filled' | 'clock';
}

class Model {
  readonly #windows: ModelWindows;
  readonly #events: readonly ModelEvent[];
  readonly #emitted: Emitted[] = [];
  readonly #late: ModelLate[] = [];
  readonly #watermarks = new Map<string, number>();

  constructor(windows: ModelWindows, events: readonly ModelEvent[]) {
    this.#windows = windows;
    this.#events = events;
  }

  run(): ModelOutcome {
    for (const [at, event] of this.#events.entries()) if (event.timestamp >= 0) this.#process(at, event);
    const keys = [...new Set(this.#events.map(({ key }) => key))].filter((key) => key !== null);
    const last = this.#events.length - 1;
    return {
      emissions: this.#emitted.map((emitted) => this.#emission(emitted)),
      late: this.#late,
      open: keys.sort(byKeyBytes).flatMap((key) =>
        this.#openAfter(last, key).map((held) => ({
          key,
          startMs: held.startMs,
          endMs: held.endMs,
          result: this.#result(held),
        })),
      ),
    };
  }

  /** The record first, with its changes by the windows' ends; then what its time has closed. */
  #process(at: number, event: ModelEvent): void {
    const keys = [...new Set(this.#events.slice(0, at).map(({ key }) => key))].filter((key) => key !== null);
    const before = keys.flatMap((key) => this.#openAfter(at - 1, key));
    if (event.key !== null) this.#add(at, event.key, before);
    const due = before.filter((held) => this.#watermark(at, held.key) >= held.closesAt);
    due.sort((a, b) => a.closesAt - b.closesAt || byKeyBytes(a.key, b.key));
    for (const held of due) this.#emitted.push({ at, of: held, closed: true, because: 'clock' });
  }

  #add(at: number, key: string, before: readonly Held[]): void {
    const { timestamp, value } = this.#events[at]!;
    const lateBy = this.#watermark(at, key) - timestamp;
    for (const { startMs, endMs } of this.#missed(at, key))
      this.#late.push({ at, key, value, timestamp, startMs, endMs, lateBy });
    const wasOpen = (held: Held): boolean =>
      before.some((old) => isSame(old, held) && String(old.members) === String(held.members));
    for (const held of this.#openAfter(at, key)) if (!wasOpen(held)) this.#change(at, held);
  }

  #change(at: number, of: Held): void {
    const { emission, trigger, count } = this.#windows;
    const triggers = trigger !== undefined && this.#triggers(trigger, of);
    if (this.#isCounted() && this.#placesTaken(at, of.key, of.id).length === count)
      this.#emitted.push({ at, of, closed: true, because: 'filled' });
    else if (triggers) this.#emitted.push({ at, of, closed: trigger.closes, because: 'trigger' });
    else if (emission === 'updates') this.#emitted.push({ at, of, closed: false, because: 'change' });
  }

  #triggers({ count, whenSumAtLeast }: ModelTrigger, held: Held): boolean {
    const told = this.#emitted.filter(
      ({ because, of }) => because === 'trigger' && (this.#kind() === 'session' || isSame(of, held)),
    );
    const untold = held.members.filter((member) => !told.some(({ of }) => of.members.includes(member)));
    return (
      (count !== undefined && untold.length >= count) ||
      (whenSumAtLeast !== undefined && this.#result(held).sum >= whenSumAtLeast)
    );
  }

  /** The windows of a key that are open after the event `at`, by end; by count the first to be full is the first begun. */
  #openAfter(at: number, key: string): readonly Held[] {
    const watermark = this.#watermark(at, key);
    return this.#held(at, key)
      .filter(({ members, closesAt }) => members.length > 0 && watermark < closesAt)
      .sort((a, b) => (this.#isCounted() ? a.id - b.id : a.endMs - b.endMs));
  }

  #held(at: number, key: string): Held[] {
    if (this.#isCounted()) return this.#counted(at, key);
    return this.#kind() === 'session' ? this.#sessions(at, key) : this.#spanned(at, key);
  }

  // Tumbling, hopping, sliding: a window is a span of time, and holds the events in it that were not late for it.

  #spanned(at: number, key: string): Held[] {
    const mine = this.#eventsOf(at, key);
    const spans = mine.flatMap((index) => this.#spansBegunBy(this.#events[index]!.timestamp));
    return uniqueSpans(spans).map((span) => {
      const closesAt = this.#spanClosesAt(span);
      const ended = this.#closedAt(key, span.startMs);
      const members = mine.filter(
        (index) =>
          this.#isIn(span, this.#events[index]!.timestamp) &&
          this.#watermark(index, key) < closesAt &&
          index > ended,
      );
      return { key, id: span.startMs, ...span, closesAt, members };
    });
  }

  /** The spans that are windows because of an event with this timestamp; of sliding ones the second does not hold it. */
  #spansBegunBy(timestamp: number): Span[] {
    const sizeMs = this.#windows.sizeMs!;
    if (this.#kind() === 'sliding') {
      const startMs = Math.max(0, timestamp - sizeMs);
      return [
        { startMs, endMs: startMs + sizeMs },
        { startMs: timestamp + 1, endMs: timestamp + 1 + sizeMs },
      ];
    }
    const stepMs = this.#kind() === 'tumbling' ? sizeMs : this.#windows.stepMs!;
    const spans: Span[] = [];
    for (let s = timestamp - (timestamp % stepMs); s >= 0 && s > timestamp - sizeMs; s -= stepMs)
      spans.push({ startMs: s, endMs: s + sizeMs });
    return spans.reverse();
  }

  #isIn({ startMs, endMs }: Span, timestamp: number): boolean {
    return startMs <= timestamp && (timestamp < endMs || (this.#kind() === 'sliding' && timestamp === endMs));
  }

  #spanClosesAt({ endMs }: Span): number {
    return endMs + this.#windows.graceMs + (this.#kind() === 'sliding' ? 1 : 0);
  }

  /** Index of the event that last closed this window, by a trigger or as its last; −1 if none has. */
  #closedAt(key: string, id: number): number {
    const closings = this.#emitted.filter(({ of, closed }) => closed && of.key === key && of.id === id);
    return Math.max(-1, ...closings.map(({ at }) => at));
  }

  // Sessions: what is connected by distances of at most the gap, among the events that are in no closed session.

  #sessions(at: number, key: string): Held[] {
    const gone = this.#membersOfClosed(key);
    const left = this.#eventsOf(at, key).filter(
      (index) => !gone.has(index) && !this.#late.some((late) => late.at === index),
    );
    const sessions: number[][] = [];
    const byTime = left.toSorted((a, b) => this.#events[a]!.timestamp - this.#events[b]!.timestamp);
    for (const [position, index] of byTime.entries()) {
      const previous = byTime[position - 1];
      const near =
        previous !== undefined &&
        this.#events[index]!.timestamp - this.#events[previous]!.timestamp <= this.#windows.gapMs!;
      if (near) sessions.at(-1)!.push(index);
      else sessions.push([index]);
    }
    const { gapMs, graceMs } = this.#windows;
    return sessions.map((members) => {
      const span = this.#spanOf(members);
      return {
        key,
        id: Math.min(...members),
        ...span,
        closesAt: span.endMs + gapMs! + graceMs + 1,
        members: members.sort(ascending),
      };
    });
  }

  // Count windows: a window of n places begins with every step-th event, and each event takes a place in all of them.

  #counted(at: number, key: string): Held[] {
    const mine = this.#eventsOf(at, key);
    const begins = mine.filter((_, nth) => nth % this.#step() === 0);
    return begins.map((id) => {
      const ended = this.#closedAt(key, id);
      const members = this.#placesTaken(at, key, id).filter((index) => index > ended);
      return { key, id, ...this.#spanOf(members), closesAt: Infinity, members };
    });
  }

  #placesTaken(at: number, key: string, begunBy: number): number[] {
    const since = this.#eventsOf(at, key).filter((index) => index >= begunBy);
    return since.slice(0, this.#windows.count);
  }

  #step(): number {
    const { kind, count, step } = this.#windows;
    return kind === 'count' ? count! : kind === 'countSliding' ? 1 : step!;
  }

  #membersOfClosed(key: string): Set<number> {
    return new Set(
      this.#emitted.filter(({ of, closed }) => closed && of.key === key).flatMap(({ of }) => of.members),
    );
  }

  // Lateness: by the clock alone, whatever is still known of a window.

  #missed(at: number, key: string): readonly Span[] {
    const { timestamp } = this.#events[at]!;
    const watermark = this.#watermark(at, key);
    if (this.#isCounted()) return [];
    if (this.#kind() === 'session') {
      const becomes = this.#sessions(at, key).find(({ members }) => members.includes(at))!;
      return watermark >= becomes.closesAt ? [becomes] : [];
    }
    // Of all sliding windows that hold an event its own ends first, and is the only one known without the others.
    return this.#spansBegunBy(timestamp).filter(
      (span) => this.#isIn(span, timestamp) && watermark >= this.#spanClosesAt(span),
    );
  }

  // Clocks.

  /** Looked up again and again, and never another for the same event and key. */
  #watermark(at: number, key: string): number {
    const name = `${String(at)} ${key}`;
    const known = this.#watermarks.get(name) ?? this.#watermarkOf(at, key);
    this.#watermarks.set(name, known);
    return known;
  }

  #watermarkOf(at: number, key: string): number {
    const { closing, keyClockRetentionMs } = this.#windows;
    const partitionClock = largest(this.#processed(at).map(({ timestamp }) => timestamp));
    if (closing === 'partition') return partitionClock;
    const keyClock = largest(this.#eventsOf(at, key).map((index) => this.#events[index]!.timestamp));
    return Math.max(keyClock, partitionClock - keyClockRetentionMs);
  }

  #processed(at: number): readonly ModelEvent[] {
    return this.#events.slice(0, at + 1).filter(({ timestamp }) => timestamp >= 0);
  }

  #eventsOf(at: number, key: string): number[] {
    return [...this.#events.keys()].filter(
      (index) => index <= at && this.#events[index]!.key === key && this.#events[index]!.timestamp >= 0,
    );
  }

  // Results.

  #emission({ at, of, closed, because }: Emitted): ModelEmission {
    const end = of.endMs - (this.#kind() === 'tumbling' || this.#kind() === 'hopping' ? 1 : 0);
    // What fills a count window or triggers is the record; only what the clock closes has a time of its own.
    const timestamp = because === 'clock' ? end : this.#events[at]!.timestamp;
    const { key, startMs, endMs } = of;
    return { at, key, startMs, endMs, closed, timestamp, result: this.#result(of) };
  }

  #result({ members }: Held): ModelResult {
    const events = members.map((index) => this.#events[index]!);
    const { startMs, endMs } = this.#spanOf(members);
    return {
      n: events.length,
      sum: events.reduce((sum, { value }) => sum + (value ?? 0), 0),
      values: events.map(({ value }) => value),
      earliest: events.find(({ timestamp }) => timestamp === startMs)!.value,
      latest: events.findLast(({ timestamp }) => timestamp === endMs)!.value,
    };
  }

  #spanOf(members: readonly number[]): Span {
    const timestamps = members.map((index) => this.#events[index]!.timestamp);
    return { startMs: Math.min(...timestamps), endMs: Math.max(...timestamps) };
  }

  #kind(): ModelKind {
    return this.#windows.kind;
  }

  #isCounted(): boolean {
    return this.#kind().startsWith('count');
  }
}

function isSame(a: Held, b: Held): boolean {
  return a.key === b.key && a.id === b.id;
}

function uniqueSpans(spans: readonly Span[]): Span[] {
  return [...new Map(spans.map((span) => [span.startMs, span])).values()];
}

function largest(numbers: readonly number[]): number {
  return Math.max(-Infinity, ...numbers);
}

const ascending = (a: number, b: number): number => a - b;
