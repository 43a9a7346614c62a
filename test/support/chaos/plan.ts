/**
 * Owns what will go wrong and when: a pure function from a seed to a list of faults. It never looks at a clock or a
 * process; director.ts, which comes next, carries the list out.
 */
import { seededRandom, type SeededRandom } from '../seeded-random.js';

/**
 * - `join`: a process that was not there yet.
 * - `leave`: SIGTERM; after `forMs` it comes back.
 * - `kill`: SIGKILL; after `forMs` it comes back with the directory it had.
 * - `wipe`: the same, and its directory is deleted meanwhile.
 * - `freeze`: SIGSTOP past the session timeout, then SIGCONT: a zombie wakes up.
 * - `brokerRestart`: SIGTERM and start. `brokerKill`: SIGKILL, and a start after `forMs`. `brokerFreeze`: SIGSTOP, SIGCONT.
 *   One node of the cluster at a time.
 */
export type FaultKind =
  'join' | 'leave' | 'kill' | 'wipe' | 'freeze' | 'brokerRestart' | 'brokerKill' | 'brokerFreeze';

export interface Fault {
  /** Since the start of the chaos. */
  readonly atMs: number;
  readonly kind: FaultKind;
  /** Index of the process; `undefined`: a broker. */
  readonly process: number | undefined;
  /** Index of the broker, if it is one. */
  readonly node: number | undefined;
  readonly forMs: number;
}

export interface PlanOptions {
  readonly seed: number;
  readonly faults: number;
  readonly processes: number;
  readonly nodes: number;
  readonly sessionTimeoutMs: number;
  /** Mean time between two faults, outages of the broker not counted. */
  readonly everyMs: number;
}

/** Every deck is played to its end before the next one is shuffled, so that few faults are of all kinds too. */
const DECK: readonly FaultKind[] = [
  'leave',
  'leave',
  'kill',
  'kill',
  'wipe',
  'freeze',
  'freeze',
  'freeze',
  'brokerRestart',
  'brokerKill',
  'brokerFreeze',
];
/** How long a broker needs to serve again, and the group to find it. */
const BROKER_BACK_MS = 6_000;

/** Processes that are there from the start; the others join as the first faults. */
export const FIRST_PROCESSES = 2;

export function planFaults(options: PlanOptions): readonly Fault[] {
  const random = seededRandom(options.seed);
  const busyUntil = Array.from({ length: options.processes }, () => 0);
  const kinds = shuffledKinds(random, options);
  let atMs = 0;
  return kinds.map((kind, i) => {
    atMs += Math.round(options.everyMs * (0.3 + 1.4 * random.next()));
    if (kind === 'join') return { atMs, kind, process: FIRST_PROCESSES + i, node: undefined, forMs: 0 };
    const forMs = duration(kind, random, options.sessionTimeoutMs);
    if (isBroker(kind)) {
      const fault = { atMs, kind, process: undefined, node: random.below(options.nodes), forMs };
      // What follows meets a group that is still coming back, but not one that is still cut off from everything.
      atMs += forMs + random.between(0, BROKER_BACK_MS);
      return fault;
    }
    const process = freeProcess(busyUntil, atMs, random);
    atMs = Math.max(atMs, busyUntil[process]!);
    busyUntil[process] = atMs + forMs;
    return { atMs, kind, process, node: undefined, forMs };
  });
}

export function isBroker(kind: FaultKind): boolean {
  return kind.startsWith('broker');
}

function shuffledKinds(random: SeededRandom, { faults, processes }: PlanOptions): FaultKind[] {
  const kinds: FaultKind[] = Array.from({ length: processes - FIRST_PROCESSES }, () => 'join');
  while (kinds.length < faults) kinds.push(...shuffled(DECK, random));
  return kinds.slice(0, faults);
}

function duration(kind: FaultKind, random: SeededRandom, sessionTimeoutMs: number): number {
  switch (kind) {
    case 'leave':
      return random.between(200, 6_000);
    case 'kill':
    case 'wipe':
      return random.between(0, 4_000);
    case 'freeze':
      return sessionTimeoutMs + random.between(500, 4_000);
    case 'brokerKill':
      return random.between(0, 2_000);
    case 'brokerFreeze':
      return random.between(1_000, 4_000);
    case 'join':
    case 'brokerRestart':
      return 0;
  }
}

/** Any that is free at that time, otherwise the one that is free first. */
function freeProcess(busyUntil: readonly number[], atMs: number, random: SeededRandom): number {
  const all = busyUntil.map((_, process) => process);
  const free = all.filter((process) => busyUntil[process]! <= atMs);
  if (free.length > 0) return random.pick(free);
  return all.reduce((first, process) => (busyUntil[process]! < busyUntil[first]! ? process : first));
}

function shuffled<T>(of: readonly T[], random: SeededRandom): T[] {
  const list = [...of];
  for (let i = list.length - 1; i > 0; i--) {
    const j = random.below(i + 1);
    [list[i], list[j]] = [list[j]!, list[i]!];
  }
  return list;
}
