/**
 * What it costs that values expire, on one thread without log and changelog: the records of `state.ts` over a plain store
 * and over one whose values expire, taken in turns so that the machine's moods meet both. Hot keys that every record sets
 * again, and keys that are set once or a few times, expire, and are swept. Run it built: `node dist/test/benchmark/ttl.js`.
 */
import { json, string } from '../../src/codec/serdes.js';
import { keyValue, type KeyValue } from '../../src/processor/declarations.js';
import { EventClock, RecordScope, StateStore } from '../../src/state/state-store.js';
import { engineFactory } from '../../src/storage/engines.js';
import { median, printTable, report } from './report.js';

interface Total {
  readonly count: number;
  readonly sum: number;
  readonly last: number;
}

interface Workload {
  readonly name: string;
  /** Different keys among the records of one life. */
  readonly keys: number;
  /** Whether a key comes again after its life. */
  readonly again: boolean;
  /** A record comes each ms. */
  readonly ttlMs: number;
}

const RECORDS = 150_000;
const CHECKPOINT_RECORDS = 50_000;
const ROUNDS = 7;
const WARM_UP = 2;
/** After which other keys come, if they do not come again. */
const EPOCH_MS = 50_000;
const WORKLOADS: readonly Workload[] = [
  { name: 'hot keys', keys: 10_000, again: true, ttlMs: 1_000_000 },
  { name: 'hot keys, a life as short as a checkpoint', keys: 10_000, again: true, ttlMs: CHECKPOINT_RECORDS },
  { name: 'each key 5 times, then it expires', keys: 10_000, again: false, ttlMs: 50_000 },
  { name: 'each key once, then it expires', keys: EPOCH_MS, again: false, ttlMs: 50_000 },
];

async function open(ttlMs: number | undefined) {
  const engine = await engineFactory('memory').open('', { blockCacheBytes: 0, writeBufferBytes: 0 });
  const clock = new EventClock(-1);
  const state = new StateStore({
    stores: {
      totals: keyValue({ key: string(), value: json<Total>(), ...(ttlMs === undefined ? {} : { ttlMs }) }),
    },
    partition: {
      empty: true,
      get: (key) => engine.get(key),
      snapshot: () => engine.snapshot(),
    },
    cacheBytes: 64 << 20,
    maxRecordBytes: 8 << 20,
    stream: 'bench',
    partitionNumber: 0,
    clock,
  });
  const scope = new RecordScope();
  const { totals } = state.views(scope) as { readonly totals: KeyValue<string, Total> };
  return { engine, clock, state, scope, totals, time: 1_767_225_600_000, changes: 0 };
}
type Opened = Awaited<ReturnType<typeof open>>;

function record({ state, scope, totals, clock }: Opened, key: string, time: number): void {
  state.savepoint();
  clock.advance(time);
  scope.timestamp = time;
  scope.open = true;
  const old = totals.get(key);
  totals.set(
    key,
    old === undefined
      ? { count: 1, sum: time, last: time }
      : { count: old.count + 1, sum: old.sum + time, last: time },
  );
  scope.open = false;
}

/** Nanoseconds of CPU a record, checkpoints included: other work on the machine would move the wall-clock. */
async function round(opened: Opened, { keys, again }: Workload): Promise<number> {
  const before = process.cpuUsage();
  for (let done = 0; done < RECORDS; done += CHECKPOINT_RECORDS) {
    for (let i = 0; i < CHECKPOINT_RECORDS; i++) {
      const n = opened.time++;
      // Decoded from bytes for each record, as in the processing loop.
      const life = again ? 0 : Math.floor(n / EPOCH_MS);
      record(opened, Buffer.from(`customer-${life}-${n % keys}`).toString('latin1'), n);
    }
    await opened.state.settle();
    const frozen = opened.state.freeze();
    const writes = frozen.encode();
    opened.changes += writes.length;
    await opened.engine.write(writes, { sync: false });
    frozen.complete();
  }
  const { user, system } = process.cpuUsage(before);
  return (1_000 * (user + system)) / RECORDS;
}

for (const workload of WORKLOADS) {
  const plain = await open(undefined);
  const expiring = await open(workload.ttlMs);
  const nanos: { plain: number[]; expiring: number[]; costs: number[] } = {
    plain: [],
    expiring: [],
    costs: [],
  };
  for (let turn = 0; turn < WARM_UP + ROUNDS; turn++) {
    const first = turn % 2 === 0 ? plain : expiring;
    const second = first === plain ? expiring : plain;
    if (turn === WARM_UP) plain.changes = expiring.changes = 0;
    const measured = new Map([
      [first, await round(first, workload)],
      [second, await round(second, workload)],
    ]);
    if (turn < WARM_UP) continue;
    nanos.plain.push(measured.get(plain)!);
    nanos.expiring.push(measured.get(expiring)!);
    nanos.costs.push(100 * (measured.get(expiring)! / measured.get(plain)! - 1));
  }
  const common = { bench: 'ttl', with: { workload: workload.name } };
  report({ ...common, metric: 'CPU a record, plain', unit: 'ns', ...median(nanos.plain) });
  report({ ...common, metric: 'CPU a record, expiring', unit: 'ns', ...median(nanos.expiring) });
  report({ ...common, metric: 'cost of expiry', unit: '%', ...median(nanos.costs) });
  const changes = (opened: Opened) => opened.changes / (RECORDS * ROUNDS);
  report({ ...common, metric: 'changelog records a record, plain', unit: '', value: changes(plain) });
  report({ ...common, metric: 'changelog records a record, expiring', unit: '', value: changes(expiring) });
  for (const { state, engine } of [plain, expiring]) {
    state.close();
    await engine.close();
  }
}
printTable();
