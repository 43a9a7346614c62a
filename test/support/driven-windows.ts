/**
 * A windowed store of counts alone, without actor, log and changelog, driven as an actor drives it, over whatever partition a
 * test gives it. It judges nothing.
 */
import { int64, string } from '../../src/codec/serdes.js';
import { windowed, type Window, type Windowed } from '../../src/processor/windowed.js';
import { EventClock, RecordScope, StateStore, type StatePartition } from '../../src/state/state-store.js';

const RECORD_BYTES_MAX = 1024 * 1024;
/** Closings after which a flush comes in between, as an actor's checkpoints do. */
export const FLUSH_EVERY = 50_000;

export class DrivenWindows {
  readonly clock = new EventClock(-1);
  readonly state: StateStore;
  readonly scope = new RecordScope();
  readonly view: Windowed<string, number, { readonly n: number }>;
  closed = 0;
  /** Called amid long closings, as an actor's checkpoints come in between. */
  flush: () => Promise<void> = () => Promise.resolve();
  #taken = 0;

  constructor(partition: StatePartition, window: Window, cacheBytes: number) {
    const w = windowed({
      key: string(),
      value: int64(),
      window,
      aggregate: (of) => ({ n: of.count() }),
    });
    this.state = new StateStore({
      stores: { w },
      partition,
      cacheBytes,
      maxRecordBytes: RECORD_BYTES_MAX,
      stream: 'bench',
      partitionNumber: 0,
      clock: this.clock,
    });
    this.state.events.handlerOf = () => () => undefined;
    this.view = this.state.views(this.scope)['w'] as typeof this.view;
    this.scope.open = true;
  }

  /** Whether something has come due by it. */
  add(key: string, timestamp: number): boolean {
    this.state.savepoint();
    this.clock.advance(timestamp);
    this.scope.timestamp = timestamp;
    this.view.add(key, 1);
    return this.state.sources[0]!.nextMs <= this.clock.ms;
  }

  /** Everything that is due. */
  async close(): Promise<void> {
    const [source] = this.state.sources;
    while (source!.nextMs <= this.clock.ms) {
      const loading = source!.load(this.clock.ms);
      if (loading !== undefined) await loading;
      if (source!.head(this.clock.ms) === undefined) continue;
      this.state.savepoint();
      if (source!.apply(this.clock.ms) !== undefined) this.closed++;
      source!.pop();
      if (++this.#taken % FLUSH_EVERY === 0) await this.flush();
    }
  }
}
