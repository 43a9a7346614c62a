/**
 * What users do to a simulated world: records, commands and queries, moves of partitions and other numbers of threads. What
 * must become of each is written down in the models and fates.
 */
import { isPartitaError } from '../../src/index.js';
import { partitionForKey } from '../../src/codec/murmur2.js';
import type { SeededRandom } from '../support/seeded-random.js';
import { Broken, STREAM, type CommandFate } from './invariants.js';
import type { Manager, Members } from './members.js';
import type { Stage } from './stage.js';

const KEYS = 5;

export class Users {
  /** How often they did what changes nothing of the results, by kind. */
  readonly happened: Record<string, number> = {};
  readonly #stage: Stage;
  readonly #members: Members;
  #events = 0;

  constructor(stage: Stage, members: Members) {
    this.#stage = stage;
    this.#members = members;
  }

  /** So many were produced. */
  get records(): number {
    return this.#events;
  }

  async produce(random: SeededRandom, count: number): Promise<void> {
    const { clock } = this.#stage.scheduler;
    const records = Array.from({ length: count }, () => {
      const event = {
        n: ++this.#events,
        ...(random.chance(0.3) ? { timerIn: random.below(600) } : {}),
      };
      const timestamp = clock.now() - (random.chance(0.2) ? random.below(1_500) : 0);
      return { key: `k${random.below(KEYS)}`, event, timestamp };
    });
    const appended = await this.#stage.log.produce(
      'events',
      records.map(({ key, event, timestamp }) => ({ key, value: JSON.stringify(event), timestamp })),
    );
    records.forEach(({ key, event, timestamp }, at) => {
      this.#stage.models[appended[at]!.partition]!.take(key, event, timestamp);
    });
    this.#stage.scheduler.tell(`${count} records are produced, up to ${this.#events}`);
  }

  command(random: SeededRandom): void {
    const id = `c${this.#stage.fates.size}`;
    const name = random.chance(0.15) ? 'refuse' : 'add';
    const manager = this.#ownerOf(id, random);
    if (manager === undefined) return;
    this.#stage.fates.set(id, 'pending');
    this.#stage.scheduler.tell(`the command ${name} ${id} is sent`);
    manager.streams[STREAM].command(name, { key: id }).then(
      () => {
        this.#settled(id, name === 'add' ? 'acknowledged' : 'notApplied');
        if (name === 'refuse') this.#stage.breaks(new Broken(`the command ${id} was not refused`));
      },
      (error: unknown) => {
        const notApplied =
          String(error).includes('refused') ||
          (isPartitaError(error, 'ACTOR_RESTARTED') && error.details['outcome'] === 'notApplied');
        if (!isPartitaError(error)) this.#stage.breaks(error);
        this.#settled(id, notApplied ? 'notApplied' : 'unknown', String(error));
      },
    );
  }

  #settled(id: string, fate: CommandFate, why = ''): void {
    this.#stage.fates.set(id, fate);
    this.#stage.scheduler.tell(`the command ${id} is ${fate} ${why}`);
  }

  /** Whoever owns a key, or anybody. */
  #ownerOf(key: string, random: SeededRandom): Manager | undefined {
    const managers = this.#members.running.map(({ manager }) => manager!);
    if (managers.length === 0) return undefined;
    return managers.find((manager) => manager.locate(STREAM, key).local) ?? random.pick(managers);
  }

  query(random: SeededRandom): void {
    const key = `k${random.below(KEYS)}`;
    const manager = this.#ownerOf(key, random);
    if (manager === undefined) return;
    const partition = partitionForKey(Buffer.from(key), this.#stage.nature.partitions);
    const read = random.chance(0.5) ? 'latest' : 'committed';
    this.#stage.scheduler.tell(`partition ${partition} is asked for its state (${read})`);
    manager.streams[STREAM].query('dump', { partition, read }).then(
      (dump) => {
        try {
          this.#stage.invariants.checkDump(partition, dump, false);
        } catch (error) {
          this.#stage.breaks(error);
        }
      },
      (error: unknown) => {
        if (!isPartitaError(error)) this.#stage.breaks(error);
      },
    );
  }

  /** Moves a partition to another thread, or changes their number. */
  rearrange(random: SeededRandom): void {
    const { running } = this.#members;
    if (running.length === 0) return;
    const { manager, owner, places } = random.pick(running);
    const partition = random.below(this.#stage.nature.partitions);
    const workers = random.between(1, 3);
    const thread = random.below(places!.size);
    const isMove = random.chance(0.7);
    const what = isMove ? 'moves' : 'scalings';
    this.#stage.scheduler.tell(
      isMove
        ? `${owner.name} moves partition ${partition} to thread ${thread}`
        : `${owner.name} scales to ${workers} threads`,
    );
    const done: Promise<unknown> = isMove
      ? manager!.move(STREAM, partition, thread)
      : manager!.scale(workers);
    this.happened[what] = (this.happened[what] ?? 0) + 1;
    done.catch((error: unknown) => {
      if (!isPartitaError(error)) this.#stage.breaks(error);
      this.#stage.scheduler.tell(`${owner.name}: ${String(error)}`);
    });
  }
}
