/**
 * Windows from the definitions (docs/decisions/0008-windows.md, closing by the partition clock) over all events at once, fast
 * enough for a month of flights. It owns no state and knows neither triggers nor clocks of keys; `windows-model.ts` does, slowly.
 */
import {
  byRecordAndEnd,
  type WindowEmission,
  type WindowOutcome,
  type WindowRun,
} from './streams-comparison.js';

export function outcomeOfPlainWindows(run: WindowRun): Promise<WindowOutcome> {
  const plain = new PlainWindows(run);
  return Promise.resolve(run.header.topology === 'session' ? plain.sessions() : plain.spans());
}

interface Session {
  readonly key: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly count: number;
  readonly sum: number;
}

class PlainWindows {
  readonly #run: WindowRun;
  /** The partition clock after each record. */
  readonly #clocks: number[] = [];
  readonly #byKey = new Map<string, number[]>();
  readonly #emissions: WindowEmission[] = [];
  readonly #late: number[] = [];

  constructor(run: WindowRun) {
    this.#run = run;
    for (const [at, { key, timestamp }] of run.records.entries()) {
      this.#clocks.push(Math.max(timestamp, this.#clocks.at(-1) ?? 0));
      if (key === null) continue;
      const events = this.#byKey.get(key) ?? [];
      events.push(at);
      this.#byKey.set(key, events);
    }
  }

  spans(): WindowOutcome {
    for (const [key, events] of this.#byKey) {
      for (const [startMs, born] of this.#starts(events)) this.#span(key, startMs, born, events);
      for (const at of events) if (this.#isLate(at)) this.#late.push(at);
    }
    return this.#outcome();
  }

  /** Starts of all windows of these events, each with the first event that begins it. */
  #starts(events: readonly number[]): Map<number, number> {
    const starts = new Map<number, number>();
    for (const at of events)
      for (const startMs of this.#startsOf(this.#time(at))) if (!starts.has(startMs)) starts.set(startMs, at);
    return starts;
  }

  #startsOf(timestamp: number): number[] {
    const { header } = this.#run;
    if (header.topology === 'session') throw new Error('Sessions begin with their events.');
    const { sizeMs } = header;
    if (header.topology === 'sliding') return [Math.max(0, timestamp - sizeMs), timestamp + 1];
    const stepMs = header.topology === 'hopping' ? header.stepMs : sizeMs;
    const starts: number[] = [];
    for (
      let start = timestamp - (timestamp % stepMs);
      start >= 0 && start > timestamp - sizeMs;
      start -= stepMs
    )
      starts.push(start);
    return starts;
  }

  #span(key: string, startMs: number, born: number, events: readonly number[]): void {
    const closesAt = this.#closesAt(startMs);
    const members = events.filter((at) => this.#isIn(at, startMs) && this.#clocks[at]! < closesAt);
    if (members.length === 0) return;
    const created = Math.max(born, members[0]!);
    if (this.#clocks[created]! >= closesAt) return;
    const emit = (at: number, of: readonly number[]): void => {
      const sum = of.reduce((total, member) => total + (this.#run.records[member]!.value ?? 0), 0);
      this.#emissions.push({ at, key, startMs, endMs: startMs + this.#size(), count: of.length, sum });
    };
    if (this.#run.header.emission === 'final') {
      const at = this.#reaches(closesAt);
      if (at !== undefined) emit(at, members);
      return;
    }
    for (const at of new Set([created, ...members.filter((member) => member > created)]))
      emit(
        at,
        members.filter((member) => member <= at),
      );
  }

  #isIn(at: number, startMs: number): boolean {
    const since = this.#time(at) - startMs;
    return since >= 0 && since < this.#size() + (this.#run.header.topology === 'sliding' ? 1 : 0);
  }

  /** Of a sliding window's events only its own window, which ends with it, is asked: it is the first to close. */
  #isLate(at: number): boolean {
    const starts = this.#startsOf(this.#time(at)).filter((startMs) => this.#isIn(at, startMs));
    return starts.some((startMs) => this.#clocks[at]! >= this.#closesAt(startMs));
  }

  #closesAt(startMs: number): number {
    const { topology, graceMs } = this.#run.header;
    return startMs + this.#size() + graceMs + (topology === 'sliding' ? 1 : 0);
  }

  sessions(): WindowOutcome {
    for (const [key, events] of this.#byKey) {
      let open: Session[] = [];
      for (const at of events) {
        open = open.filter(
          (session) => this.#clocks[at]! < this.#sessionClosesAt(session) || this.#close(session),
        );
        open = this.#withEvent(open, key, at);
      }
      for (const session of open) this.#close(session);
    }
    return this.#outcome();
  }

  #withEvent(open: readonly Session[], key: string, at: number): Session[] {
    const time = this.#time(at);
    const gapMs = this.#gap();
    const near = open.filter(({ startMs, endMs }) => startMs - gapMs <= time && time <= endMs + gapMs);
    const joined: Session = {
      key,
      startMs: Math.min(time, ...near.map(({ startMs }) => startMs)),
      endMs: Math.max(time, ...near.map(({ endMs }) => endMs)),
      count: near.reduce((count, session) => count + session.count, 1),
      sum: near.reduce((sum, session) => sum + session.sum, this.#run.records[at]!.value ?? 0),
    };
    if (this.#clocks[at]! >= this.#sessionClosesAt(joined)) {
      this.#late.push(at);
      return [...open];
    }
    if (this.#run.header.emission === 'updates') this.#emissions.push({ at, ...joined });
    return [...open.filter((session) => !near.includes(session)), joined];
  }

  /** Emits a session that closes, if it does; false, as an answer to whether it stays. */
  #close(session: Session): false {
    const at = this.#reaches(this.#sessionClosesAt(session));
    if (at !== undefined && this.#run.header.emission === 'final') this.#emissions.push({ at, ...session });
    return false;
  }

  #sessionClosesAt({ endMs }: Session): number {
    return endMs + this.#gap() + this.#run.header.graceMs + 1;
  }

  #gap(): number {
    return this.#run.header.topology === 'session' ? this.#run.header.gapMs : 0;
  }

  #size(): number {
    return this.#run.header.topology === 'session' ? 0 : this.#run.header.sizeMs;
  }

  #time(at: number): number {
    return this.#run.records[at]!.timestamp;
  }

  /** The record whose clock first reaches `time`, by halving: clocks never go back. */
  #reaches(time: number): number | undefined {
    let [from, to] = [0, this.#clocks.length];
    while (from < to) {
      const middle = Math.floor((from + to) / 2);
      if (this.#clocks[middle]! < time) from = middle + 1;
      else to = middle;
    }
    return from < this.#clocks.length ? from : undefined;
  }

  #outcome(): WindowOutcome {
    return { emissions: this.#emissions.sort(byRecordAndEnd), late: this.#late.sort((a, b) => a - b) };
  }
}
