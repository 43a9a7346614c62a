// Which of several inputs goes next, by table: heads by their timestamp, what is empty by what its last fetch said.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { chooseLane } from '../../src/actor/input-merge.js';
import { InputLane } from '../../src/actor/input-lane.js';
import { RecordBatchWriter } from '../../src/codec/record-batch-writer.js';

interface Given {
  /** Timestamp of the head; absent: nothing is buffered. */
  readonly head?: number;
  /** The fetch that brought the head, or that found the topic at its end. */
  readonly fetch: number;
  readonly asOf?: number;
}

function lane(topic: string, { head, fetch, asOf = fetch - 1 }: Given): InputLane {
  const made = new InputLane({ input: topic, topic, topicId: topic }, 0, 0, true);
  const writer = new RecordBatchWriter();
  if (head !== undefined) writer.append(head, null, null);
  const bytes = writer.seal() ?? new ArrayBuffer(0);
  const next = head === undefined ? 0 : 1;
  // A topic with a head has more behind it; one without is at its end as of this fetch.
  const lastStable = head === undefined ? 0 : 2;
  const rest = { epoch: 1, aborted: [], highWatermark: lastStable };
  void made.push({ topic, bytes, from: 0, next, lastStable, fetch, asOf, ...rest });
  return made;
}

describe('among several inputs', () => {
  const rows: readonly [string, readonly [Given, Given], boolean, string][] = [
    [
      'the smaller timestamp goes first',
      [
        { head: 2, fetch: 1 },
        { head: 1, fetch: 2 },
      ],
      false,
      'take b',
    ],
    [
      'ties go by topic name',
      [
        { head: 1, fetch: 2 },
        { head: 1, fetch: 1 },
      ],
      false,
      'take a',
    ],
    [
      'an empty one that was not looked at since holds the other',
      [{ head: 1, fetch: 5 }, { fetch: 5 }],
      false,
      'held by b',
    ],
    [
      'an empty one that was looked at since does not',
      [{ head: 1, fetch: 5 }, { fetch: 6 }],
      false,
      'take a',
    ],
    [
      'an empty one whose fetch was sent before the head had come holds it, though it came later',
      [
        { head: 1, fetch: 5 },
        { fetch: 7, asOf: 4 },
      ],
      false,
      'held by b',
    ],
    ['an empty one is waited for no longer than told', [{ head: 1, fetch: 5 }, { fetch: 1 }], true, 'take a'],
    ['nothing buffered is nothing to take', [{ fetch: 1 }, { fetch: 1 }], false, 'none'],
  ];
  for (const [name, [a, b], waited, expected] of rows)
    it(name, () => {
      const choice = chooseLane([lane('a', a), lane('b', b)], waited);
      const got =
        choice.kind === 'take'
          ? `take ${choice.lane.spec.topic}`
          : choice.kind === 'held'
            ? `held by ${choice.by.spec.topic}`
            : 'none';
      assert.equal(got, expected);
    });
});

describe('a lane', () => {
  it('takes only the chunk that begins at the next position', async () => {
    const made = new InputLane({ input: 'a', topic: 'a', topicId: 'a' }, 0, 7, true);
    const chunk = { topic: 'a', epoch: 1, aborted: [], lastStable: 9, highWatermark: 9, fetch: 1 };
    const refused = await made.push({ ...chunk, bytes: new ArrayBuffer(0), from: 6, next: 9 });
    assert.deepEqual(refused, { accepted: false, records: 0 });
    const taken = await made.push({ ...chunk, bytes: new ArrayBuffer(0), from: 7, next: 9 });
    assert.deepEqual(taken, { accepted: true, records: 0 });
    assert.equal(made.position, 9);
  });
});
