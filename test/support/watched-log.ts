/**
 * A log as one manager sees it, watched and meddled with: every call of the port that reaches the log is noted by name,
 * and the group's assignments can be withheld, as where a member learns of a generation only that it is over already, or
 * followed by the news that the membership is lost. Everything else passes through.
 */
import type {
  Assignment,
  GroupMember,
  LogClient,
  LogFactory,
  TransactionalProducer,
} from '../../src/log/log-client.js';

export class WatchedLog implements LogFactory {
  readonly kind: string;
  /** Calls of the port since it was last emptied; calls that stay in the session (seek, pause, …) are none. */
  readonly calls: string[] = [];
  /** So many assignments the member is not told of; nor of the barriers that end them. */
  withheld = 0;
  /** When the member was last told of an assignment (performance.now). */
  assignedAt = 0;
  /** Whether the member knows of the assignment that holds. */
  told = true;
  readonly #log: LogFactory;
  #member: GroupMember | undefined;

  constructor(log: LogFactory) {
    this.#log = log;
    this.kind = log.kind;
  }

  /** Tells the member that its membership is lost with all its partitions. */
  lose(partitions: Parameters<GroupMember['onLost']>[0]): void {
    this.#member?.onLost(partitions);
  }

  async connect(options: { readonly clientId: string }): Promise<LogClient> {
    const client = await this.#log.connect(options);
    const note = <T>(name: string, call: () => T): T => {
      this.calls.push(name);
      return call();
    };
    return {
      kind: client.kind,
      topics: {
        describe: (topics) => note('describe', () => client.topics.describe(topics)),
        ensure: (spec) => note('ensure', () => client.topics.ensure(spec)),
        bounds: (partitions) => note('bounds', () => client.topics.bounds(partitions)),
      },
      committed: (group, partitions) => note('committed', () => client.committed(group, partitions)),
      join: async (join, member) => {
        this.#member = member;
        const session = await client.join(join, this.#meddled(member));
        return {
          get memberId() {
            return session.memberId;
          },
          pause: (partitions) => {
            session.pause(partitions);
          },
          resume: (partitions) => {
            session.resume(partitions);
          },
          seek: (partition, offset) => {
            session.seek(partition, offset);
          },
          nextEpoch: (partition) => session.nextEpoch(partition),
          owns: (partition) => note('owns', () => session.owns(partition)),
          ownerOf: (partition) => session.ownerOf(partition),
          leave: () => session.leave(),
        };
      },
      read: (request) => note('read', () => client.read(request)),
      producer: (of) => {
        const producer = client.producer(of);
        const watched: TransactionalProducer = {
          init: () => note('init', () => producer.init()),
          commitTransaction: (request) => note('commit', () => producer.commitTransaction(request)),
          close: () => producer.close(),
        };
        return watched;
      },
      outputs: () => client.outputs(),
      close: () => client.close(),
    };
  }

  #meddled(member: GroupMember): GroupMember {
    this.told = true;
    return {
      onAssign: (assignment: Assignment) => {
        this.told = this.withheld === 0;
        if (!this.told) {
          this.withheld--;
          return;
        }
        this.assignedAt = performance.now();
        return member.onAssign(assignment);
      },
      onRevoke: async (partitions, barrier) => {
        if (this.told) await member.onRevoke(partitions, barrier);
      },
      onLost: (partitions) => {
        member.onLost(partitions);
      },
      onChunk: (chunk) => {
        member.onChunk(chunk);
      },
      onOutOfRange: (partition, bounds) => {
        member.onOutOfRange(partition, bounds);
      },
      onFatal: (error) => {
        member.onFatal(error);
      },
    };
  }
}
