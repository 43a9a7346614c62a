/**
 * One member's life in its group: it joins, is given assignments, hears of rebalances by its heartbeats, runs the revoke
 * barrier and joins again, until it leaves. It calls its session one call at a time; only `onLost` may come while an
 * `onRevoke` or `onAssigned` is pending, since what these still do would be too late. It never touches what is fetched:
 * that is `group-session.ts`.
 *
 *     joining ─► assigning ─► member ─► barrier ─► joining          rebalance, or leave
 *        │           └───────────┴─────────┴─────► joining          lost: the group has forgotten the member
 *        └─► failed                                                 the group refuses the member
 */
import { Backoff } from '../../core/backoff.js';
import type { Clock, Timer } from '../../core/clock.js';
import { isPartitaError } from '../../core/errors.js';
import { type Logger, silentLogger } from '../../core/logger.js';
import type { TopicPartition } from '../../core/log-types.js';
import type { JoinOptions, OwnershipAnswer } from '../log-client.js';
import type { GroupLink, HeartbeatAnswer, JoinAnswer, JoinRequest } from './group-link.js';

const SESSION_TIMEOUT_MS_DEFAULT = 10_000;
const REBALANCE_TIMEOUT_MS_DEFAULT = 30_000;
const HEARTBEATS_PER_SESSION_DEFAULT = 5;
const JOIN_RETRY_FIRST_MS = 100;
const JOIN_RETRY_MAX_MS = 2_000;

export interface MembershipParts {
  readonly clock: Clock;
  readonly link: GroupLink;
  readonly clientId: string;
  /** @default 5 */
  readonly heartbeatsPerSession?: number;
  /** @default silent */
  readonly logger?: Logger;
  /** Of the waits between joins, uniform in [0, 1). @default Math.random */
  readonly random?: () => number;
}

export type Joined = Extract<JoinAnswer, { kind: 'joined' }>;

/** The session, as its membership sees it. */
export interface MembershipListener {
  /** What it has of the last assignment. */
  owned(): readonly TopicPartition[];
  /** The assignment replaces what it had. Awaited; never rejects. */
  onAssigned(joined: Joined): Promise<void>;
  /** The barrier. `deadline` is on the log's clock. Awaited; never rejects. */
  onRevoke(deadline: number): Promise<void>;
  /** The group has forgotten the member: what it had is gone. */
  onLost(): void;
  onFatal(error: unknown): void;
}

type News = 'none' | Exclude<HeartbeatAnswer, 'ok'>;

export class Membership {
  readonly #parts: MembershipParts;
  readonly #options: JoinOptions;
  readonly #listener: MembershipListener;
  readonly #sessionTimeoutMs: number;
  readonly #rebalanceTimeoutMs: number;
  #memberId: string;
  /** Of the last assignment; −1 if there was none, or it was lost. */
  #generation = -1;
  /** Whether the group has answered a join of this member id, and not yet forgotten it. */
  #admitted = false;
  #joining = false;
  #failed = false;
  #isLeaving = false;
  #ended = false;
  #news: News = 'none';
  /** Ends the wait for news, or for the next attempt to join; `undefined` while neither is waited for. */
  #interrupt: (() => void) | undefined;
  #heartbeat: Timer | undefined;
  /** Stands for the heartbeat under way; the answer to one that is not it any more is dropped. */
  #beating: object | undefined;
  /** When a heartbeat was last answered (monotonic), and whether the silence since has been logged. */
  #answeredAt = 0;
  #silenceLogged = false;
  #running: Promise<void> = Promise.resolve();

  constructor(parts: MembershipParts, options: JoinOptions, listener: MembershipListener) {
    this.#parts = parts;
    this.#options = options;
    this.#listener = listener;
    this.#memberId = parts.link.newMemberId(parts.clientId);
    this.#sessionTimeoutMs = options.sessionTimeoutMs ?? SESSION_TIMEOUT_MS_DEFAULT;
    this.#rebalanceTimeoutMs = options.rebalanceTimeoutMs ?? REBALANCE_TIMEOUT_MS_DEFAULT;
  }

  /** Joins, from a later turn of the event loop on. */
  start(): void {
    this.#scheduleHeartbeat();
    this.#running = this.#run();
  }

  get memberId(): string {
    return this.#memberId;
  }

  /** Whether the group knows this member: it may forget it, or the session may end, during any call of the listener. */
  get isMember(): boolean {
    return this.#admitted && !this.#ended;
  }

  get isLeaving(): boolean {
    return this.#isLeaving;
  }

  /** Whether no assignment will come any more. */
  isOver(): boolean {
    return this.#ended || this.#isLeaving || this.#failed;
  }

  async owns(partition: TopicPartition): Promise<OwnershipAnswer> {
    const generation = this.#generation;
    const unasked = this.#ownsUnasked(generation);
    if (unasked !== undefined) return unasked;
    const { clock, link } = this.#parts;
    const askedAt = clock.monotonic();
    const answer = await link.owns(this.#memberId, generation, partition);
    // A yes lasts no longer than a session: since then the group may have forgotten the member.
    const isStale = answer === 'yes' && clock.monotonic() - askedAt >= this.#sessionTimeoutMs;
    return this.#ownsUnasked(generation) ?? (isStale ? 'unknown' : answer);
  }

  /** Resolves after a last barrier; then `end` and `tellLeave` are due. */
  async leave(): Promise<void> {
    this.#isLeaving = true;
    // The barrier waits its turn behind an onAssigned or onRevoke under way; a join under way is given up.
    this.#interrupt?.();
    if (this.#joining) await this.tellLeave();
    await this.#running;
  }

  /** Ends at once, without a barrier. */
  end(): void {
    this.#ended = true;
    this.#beating = undefined;
    this.#heartbeat?.cancel();
    this.#interrupt?.();
  }

  /** A group that can't be told forgets the member by its session timeout. */
  async tellLeave(): Promise<void> {
    try {
      await this.#parts.link.leave(this.#memberId);
    } catch (error) {
      if (!isPartitaError(error)) throw error;
    }
  }

  async #run(): Promise<void> {
    await immediate();
    while (!this.isOver()) {
      const answer = await this.#join();
      if (this.isOver() || answer === undefined || answer.kind === 'closed') return;
      if (answer.kind === 'unknownMember') {
        this.#lose();
        // A link that never gets to know the member still leaves the event loop its turn.
        await immediate();
        continue;
      }
      await this.#listener.onAssigned(answer);
      await this.#untilNews();
      if (this.#ended) return;
      if (this.#news === 'unknownMember') this.#lose();
      else if (this.isMember) await this.#runBarrier();
    }
  }

  // ---- joining

  /** The answer, after as many attempts as it takes; `undefined` if the membership is over before. */
  async #join(): Promise<Exclude<JoinAnswer, { kind: 'again' }> | undefined> {
    this.#joining = true;
    // The answer to a heartbeat under way is about the generation that this join ends.
    this.#beating = undefined;
    // Only the session's life bounds the attempts: while the log is away there is nothing else to do.
    const { random } = this.#parts;
    const backoff = new Backoff({
      firstMs: JOIN_RETRY_FIRST_MS,
      maxMs: JOIN_RETRY_MAX_MS,
      attemptsMax: Infinity,
      ...(random === undefined ? {} : { random }),
    });
    try {
      for (;;) {
        const answer = await this.#tryJoin(backoff);
        if (this.isOver()) return undefined;
        if (answer !== undefined && answer.kind !== 'again') return answer;
        // A link that answers without any waiting of its own still leaves the event loop its turn.
        await immediate();
        if (this.isOver()) return undefined;
      }
    } finally {
      this.#joining = false;
    }
  }

  /** `undefined` after a failure and the wait that follows it. */
  async #tryJoin(backoff: Backoff): Promise<JoinAnswer | undefined> {
    try {
      const answer = await this.#parts.link.join(this.#request());
      // Also of one that comes too late: it is by this id that the group is told that the member leaves.
      if (answer.kind === 'joined') this.#admit(answer);
      return answer;
    } catch (error) {
      if (this.isOver() && isPartitaError(error)) return undefined;
      if (isPartitaError(error) && error.retryable) await this.#waitAfter(error, backoff.next()!);
      else this.#fail(error);
      return undefined;
    }
  }

  #request(): JoinRequest {
    return {
      ...this.#options,
      memberId: this.#memberId,
      known: this.#admitted,
      clientId: this.#parts.clientId,
      sessionTimeoutMs: this.#sessionTimeoutMs,
      rebalanceTimeoutMs: this.#rebalanceTimeoutMs,
      owned: this.#listener.owned(),
      ownedGeneration: this.#generation,
      nudge: () => {
        // In a turn of its own: the coordinator is in the middle of something.
        queueMicrotask(() => void this.#beat());
      },
    };
  }

  #admit({ memberId, generation }: Joined): void {
    this.#admitted = true;
    this.#news = 'none';
    this.#memberId = memberId;
    this.#generation = generation;
    this.#answeredAt = this.#parts.clock.monotonic();
  }

  async #waitAfter(error: Error, delayMs: number): Promise<void> {
    this.#logger.warn(
      { err: error, ...this.#who, delayMs },
      'The group could not be joined; it is tried again.',
    );
    await new Promise<void>((resolve) => {
      const timer = this.#parts.clock.setTimer(delayMs, resolve);
      this.#interrupt = () => {
        timer.cancel();
        resolve();
      };
    });
    this.#interrupt = undefined;
  }

  #fail(error: unknown): void {
    this.#failed = true;
    this.#listener.onFatal(error);
  }

  // ---- being a member

  async #untilNews(): Promise<void> {
    // What happened during onAssigned is learned by asking once more.
    await this.#beat();
    while (this.#news === 'none' && this.isMember && !this.#isLeaving)
      await new Promise<void>((resolve) => {
        this.#interrupt = resolve;
      });
    this.#interrupt = undefined;
  }

  async #runBarrier(): Promise<void> {
    this.#news = 'none';
    const { clock, link } = this.#parts;
    const deadline = this.#isLeaving ? clock.now() + this.#rebalanceTimeoutMs : link.revokeDeadline();
    await this.#listener.onRevoke(deadline);
  }

  /** Between its join and the new assignment nobody can say whose a partition will be: that is unknown, not lost. */
  #ownsUnasked(generation: number): 'no' | 'unknown' | undefined {
    if (!this.isMember) return 'no';
    return this.#joining || this.#generation !== generation ? 'unknown' : undefined;
  }

  /** The membership is gone: everything owned is lost, the next join is a new member's. */
  #lose(): void {
    this.#news = 'none';
    this.#admitted = false;
    this.#beating = undefined;
    this.#generation = -1;
    this.#memberId = this.#parts.link.newMemberId(this.#parts.clientId);
    this.#listener.onLost();
  }

  // ---- heartbeats

  #scheduleHeartbeat(): void {
    const perSession = this.#parts.heartbeatsPerSession ?? HEARTBEATS_PER_SESSION_DEFAULT;
    this.#heartbeat = this.#parts.clock.setTimer(
      this.#sessionTimeoutMs / perSession,
      () => {
        void this.#beat();
        if (!this.#ended) this.#scheduleHeartbeat();
      },
      { ref: false },
    );
  }

  /** Not while a join is under way: it ends the generation that a heartbeat would be about. */
  async #beat(): Promise<void> {
    if (this.#beating !== undefined || this.#joining || this.#failed || !this.isMember) return;
    const beat = {};
    this.#beating = beat;
    try {
      const answering = this.#parts.link.heartbeat(this.#memberId, this.#generation);
      // Without a detour where the answer is at hand: a manual clock may fire many timers in one turn.
      const answer = typeof answering === 'string' ? answering : await answering;
      if (this.#beating !== beat) return;
      this.#answered();
      if (answer !== 'ok') this.#hear(answer);
    } catch (error) {
      // A heartbeat that is not answered is followed by the next one; whether the group has forgotten the member
      // meanwhile, the first answer says, and until then fencing protects the state.
      if (!isPartitaError(error)) this.#listener.onFatal(error);
      else if (this.#beating === beat) this.#logSilence(error);
    } finally {
      if (this.#beating === beat) this.#beating = undefined;
    }
  }

  #hear(news: Exclude<News, 'none'>): void {
    // An eviction can't wait for the end of the listener's call under way: what it still does would be too late.
    if (news === 'unknownMember' && this.#interrupt === undefined) this.#lose();
    else if (this.#news !== 'unknownMember') this.#news = news;
    this.#interrupt?.();
  }

  #answered(): void {
    this.#answeredAt = this.#parts.clock.monotonic();
    if (this.#silenceLogged) this.#logger.warn(this.#who, 'The group answers heartbeats again.');
    this.#silenceLogged = false;
  }

  /** Once per silence that is longer than the session. */
  #logSilence(error: Error): void {
    const silentMs = this.#parts.clock.monotonic() - this.#answeredAt;
    if (this.#silenceLogged || silentMs <= this.#sessionTimeoutMs) return;
    this.#silenceLogged = true;
    const message = 'No heartbeat was answered for a session; the group may have forgotten the member.';
    this.#logger.warn({ err: error, ...this.#who, silentMs }, message);
  }

  get #logger(): Logger {
    return this.#parts.logger ?? silentLogger;
  }

  get #who(): { readonly group: string; readonly memberId: string } {
    return { group: this.#options.group, memberId: this.#memberId };
  }
}

function immediate(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
