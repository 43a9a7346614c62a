/**
 * What timers must do, said naively: all that is scheduled stands in one list, and the earliest of what is due is looked for
 * anew each time. It knows neither crashes nor checkpoints; `property/timers.test.ts` compares it with the runtime.
 */

/** What a handler does with timers. */
export interface TimerOp {
  readonly do: 'schedule' | 'cancel';
  readonly timer: 'a' | 'b';
  readonly key: string;
  /** After the time of the record, or of the timer that does it; see `timeOf`. */
  readonly afterMs: number;
  readonly fail: boolean;
  readonly then: readonly TimerOp[];
}

/** By wall-clock, each with a key of its own, so that when it fires changes nothing for the others. */
export interface WallOp {
  readonly afterMs: number;
  readonly fail: boolean;
  /** It schedules an event timer in turn, at this time. */
  readonly eventAt: number | undefined;
}

export interface TimerPayload {
  /** Where it was scheduled: the event and the positions of the steps. */
  readonly id: string;
  readonly atMs: number;
  readonly fail: boolean;
  readonly then: readonly TimerOp[];
}

/** A record, or a command, which has no time of its own. */
export interface TimerEvent {
  readonly timestamp: number | undefined;
  readonly ops: readonly TimerOp[];
  readonly wall: readonly WallOp[];
  readonly fail: boolean;
}

export interface TimerOutcome {
  /** Records and event timers in order. */
  readonly told: readonly string[];
  /** What fired by wall-clock, sorted, and what came of it. */
  readonly wall: readonly string[];
  /** Event timers that are still to come. */
  readonly left: number;
}

/** On a grid, so that the same timers are scheduled and cancelled again and again. */
export function timeOf(base: number, { afterMs }: { readonly afterMs: number }): number {
  return Math.max(0, Math.ceil((base + afterMs) / GRID_MS) * GRID_MS);
}

const GRID_MS = 8;

export function firedText(timer: string, key: string, atMs: number, id: string): string {
  return JSON.stringify([timer, key, atMs, id]);
}

interface Scheduled {
  readonly timer: string;
  readonly key: string;
  readonly atMs: number;
  readonly payload: TimerPayload;
}

/** @param baseOfCommands what a command counts from */
export function timersModel(events: readonly TimerEvent[], baseOfCommands: number): TimerOutcome {
  let scheduled: Scheduled[] = [];
  let clock = -1;
  const told: string[] = [];
  const wall: string[] = [];

  const apply = (ops: readonly TimerOp[], base: number, id: string): void => {
    ops.forEach((op, i) => {
      const { timer, key, fail, then } = op;
      const atMs = timeOf(base, op);
      scheduled = scheduled.filter((one) => one.timer !== timer || one.key !== key || one.atMs !== atMs);
      if (op.do === 'schedule')
        scheduled.push({ timer, key, atMs, payload: { id: `${id}.${String(i)}`, atMs, fail, then } });
    });
  };
  const fireWhatIsDue = (): void => {
    for (;;) {
      const [first] = scheduled.filter(({ atMs }) => atMs <= clock).sort(inOrder);
      if (first === undefined) return;
      scheduled = scheduled.filter((one) => one !== first);
      const { timer, key, atMs, payload } = first;
      if (payload.fail) continue;
      told.push(firedText(timer, key, atMs, payload.id));
      apply(payload.then, atMs, payload.id);
    }
  };

  events.forEach((event, n) => {
    if (event.fail) return;
    const id = String(n);
    if (event.timestamp !== undefined) {
      told.push(id);
      clock = Math.max(clock, event.timestamp);
    }
    apply(event.ops, event.timestamp ?? baseOfCommands, id);
    event.wall.forEach(({ fail, eventAt }, i) => {
      if (fail) return;
      wall.push(`${id}/${String(i)}`);
      if (eventAt !== undefined) wall.push(`${id}/${String(i)} event`);
    });
    fireWhatIsDue();
  });
  return { told, wall: wall.sort(), left: scheduled.length };
}

function inOrder(a: Scheduled, b: Scheduled): number {
  if (a.atMs !== b.atMs) return a.atMs - b.atMs;
  if (a.timer !== b.timer) return a.timer < b.timer ? -1 : 1;
  return Buffer.compare(Buffer.from(a.key), Buffer.from(b.key));
}
