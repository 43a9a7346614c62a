/** What goes wrong in a simulated world, of every kind. Each is told in the story and counted by its name. */
import type { SeededRandom } from '../support/seeded-random.js';
import { Broken, CHANGELOG } from './invariants.js';
import type { Members } from './members.js';
import type { Stage } from './stage.js';

/** One fault of a random kind: which; `undefined` if there was nothing that it could strike. */
export async function strike(
  stage: Stage,
  members: Members,
  random: SeededRandom,
): Promise<string | undefined> {
  const kinds = [
    'threads killed',
    'threads killed',
    'managers frozen',
    'managers crashed',
    'managers stopped',
    'lines stalled',
    'lines stalled',
    'chunks sent again',
    'databases lost',
    'changelogs compacted',
    'commits delayed past their thread',
    'commits delayed past their thread',
    'commits that arrive late',
    'commits that arrive late',
    'disks full',
    'disks slow',
    'resets',
  ] as const;
  const kind = random.pick(kinds);
  const running = members.all.filter(({ state }) => state === 'running' || state === 'starting');
  const member = running.length === 0 ? undefined : random.pick(running);
  switch (kind) {
    case 'threads killed': {
      if (member?.places === undefined) return undefined;
      const place = random.below(member.places.size);
      stage.scheduler.tell(`${member.owner.name} loses its thread ${place}`);
      await member.places.end(place, 'killed by the simulation');
      return kind;
    }
    case 'managers frozen': {
      if (member === undefined || member.owner.frozen) return undefined;
      members.freeze(member, random.pick([50, 400, stage.nature.sessionMs * 3]));
      return kind;
    }
    case 'managers crashed': {
      // What has just started has little to lose.
      if (member === undefined || (member.state === 'starting' && random.chance(0.7))) return undefined;
      members.crash(member);
      return kind;
    }
    case 'managers stopped': {
      if (member?.state !== 'running') return undefined;
      members.leave(member, random.pick([100, 5_000]));
      return kind;
    }
    case 'lines stalled': {
      const line = stage.scheduler.stall(random, random.pick([30, 300, 2_000]));
      if (line === undefined) return undefined;
      stage.scheduler.tell(`nothing moves on the line "${line}"`);
      return kind;
    }
    case 'chunks sent again': {
      const sent = member?.places?.sendAgain((of) => random.pick(of));
      if (sent === undefined) return undefined;
      stage.scheduler.tell(sent.text);
      void sent.accepted.then((accepted) => {
        if (accepted && sent.stale) stage.breaks(new Broken(`${sent.text}, and takes it`));
      });
      return kind;
    }
    case 'databases lost': {
      const lost = stage.disks.wipe((of) => random.pick(of));
      if (lost === undefined) return undefined;
      stage.scheduler.tell(`the database ${lost} is lost`);
      return kind;
    }
    case 'commits delayed past their thread': {
      const owner = stage.scheduler.stallWhere('→ log: commit', random.pick([1_500, 3_000]));
      const places = members.all.find((candidate) => candidate.owner === owner)?.places;
      if (owner === undefined || places === undefined) return undefined;
      stage.scheduler.tell(`a commit of ${owner.name} is stuck, and its threads die`);
      for (let place = 0; place < places.size; place++) await places.end(place, 'killed by the simulation');
      return kind;
    }
    case 'commits that arrive late':
      return stage.scheduler.deliverWhere('→ log: commit', 'late') ? kind : undefined;
    case 'disks full': {
      const ms = random.pick([50, 500]);
      stage.scheduler.tell(`the disks are full for ${ms} ms`);
      stage.disks.fill(ms);
      return kind;
    }
    case 'disks slow': {
      if (stage.scheduler.stallWhere(' writes ', random.pick([100, 1_000])) === undefined) return undefined;
      stage.scheduler.tell('a write takes its time');
      return kind;
    }
    case 'resets': {
      // Outputs behind the last checkpoint come again after it, which only exactly-once takes back.
      if (!stage.nature.exactlyOnce) return undefined;
      stage.scheduler.tell(`who starts from now on resets the totals, ${members.resetFromNowOn()}`);
      if (member?.state === 'running' && random.chance(0.7)) members.leave(member, 5_000);
      else if (member !== undefined) members.crash(member);
      members.join();
      return kind;
    }
    case 'changelogs compacted': {
      if ((await stage.log.describeTopic(CHANGELOG)) === undefined) return undefined;
      stage.scheduler.tell('the changelog is compacted');
      await stage.log.compact(CHANGELOG);
      return kind;
    }
  }
}
