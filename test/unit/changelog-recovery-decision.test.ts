// The decisions of recovery, by table: each row is a situation an operator could meet.
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  decidePositions,
  decideReplay,
  decideStatelessPositions,
  isUntouched,
  samePositions,
  type InputFacts,
  type LocalState,
  type PositionPolicies,
} from '../../src/changelog/recovery-decision.js';
import type { PartitionBounds } from '../../src/core/log-types.js';
import type { CheckpointRecord } from '../../src/changelog/checkpoint-record.js';

const DAY_MS = 86_400_000;
const bounds = (start: number, end: number): { start: number; lastStable: number; end: number } => ({
  start,
  lastStable: end,
  end,
});

describe('where replay begins', () => {
  const local = (over: Partial<LocalState>): LocalState => ({
    offset: 10,
    appendTime: 100 * DAY_MS,
    mismatch: undefined,
    ...over,
  });
  const facts = { nowMs: 100 * DAY_MS + 1000, deleteRetentionMs: 7 * DAY_MS };
  const rows: readonly [string, LocalState, ReturnType<typeof bounds>, 'resume' | 'rebuild', number][] = [
    ['an empty database starts at the log start', local({ offset: -1 }), bounds(3, 20), 'resume', 3],
    ['a database that holds a prefix goes on after it', local({}), bounds(0, 20), 'resume', 11],
    ['a database at the end has nothing to replay', local({ offset: 19 }), bounds(0, 20), 'resume', 20],
    ['the log start has passed the stored offset', local({}), bounds(12, 20), 'rebuild', 12],
    ['the log start is just the next offset', local({}), bounds(11, 20), 'resume', 11],
    ['the stored offset is past the end', local({ offset: 20 }), bounds(0, 20), 'rebuild', 0],
    ['the files are corrupt', local({ mismatch: 'corrupt' }), bounds(0, 20), 'rebuild', 0],
    [
      'the last applied record is too old and the log has grown',
      local({ appendTime: 96 * DAY_MS }),
      bounds(0, 20),
      'rebuild',
      0,
    ],
    [
      'the last applied record is old but nothing was added',
      local({ offset: 19, appendTime: 1 }),
      bounds(0, 20),
      'resume',
      20,
    ],
    [
      'the last applied record is old and only the marker of its own transaction follows',
      local({ offset: 18, appendTime: 1 }),
      bounds(0, 20),
      'resume',
      19,
    ],
  ];
  for (const [name, state, range, kind, from] of rows)
    it(name, () => {
      const decision = decideReplay(state, range, facts);
      assert.deepEqual([decision.kind, decision.from], [kind, from]);
    });
});

describe('whether somebody has written while an actor was parked', () => {
  const local = (over: Partial<LocalState> = {}): LocalState => ({
    offset: 10,
    appendTime: 0,
    mismatch: undefined,
    ...over,
  });
  const rows: readonly [string, LocalState, PartitionBounds, boolean][] = [
    ['only the marker of its own transaction follows', local(), bounds(0, 12), true],
    ['nothing follows: its last replayed page ended with the marker', local(), bounds(0, 11), true],
    ['compaction has moved the log start, not beyond what it holds', local(), bounds(11, 12), true],
    ['a transaction of one record and its marker follows its own', local(), bounds(0, 14), false],
    ['a transaction follows a replayed page', local(), bounds(0, 13), false],
    ['the changelog ends before what it holds', local(), bounds(0, 10), false],
    ['the log start has passed what it holds', local(), bounds(12, 12), false],
    ['it holds nothing', local({ offset: -1 }), bounds(0, 0), false],
    ['its files are of another changelog', local({ mismatch: 'another topic' }), bounds(0, 12), false],
    ['somebody’s transaction is open', local(), { start: 0, lastStable: 11, end: 12 }, false],
  ];
  for (const [name, state, range, untouched] of rows)
    it(name, () => {
      assert.equal(isUntouched(state, range), untouched);
    });

  it('positions are the same only of the same topics at the same offsets', () => {
    const at = (offset: number, topicId = 'id') => ({
      a: { topicId: 'a', offset: 1 },
      b: { topicId, offset },
    });
    assert.equal(samePositions(at(3), at(3)), true);
    assert.equal(samePositions(at(3), at(4)), false);
    assert.equal(samePositions(at(3), at(3, 'recreated')), false);
    assert.equal(samePositions(at(3), { a: { topicId: 'a', offset: 1 } }), false);
    assert.equal(samePositions({ a: { topicId: 'a', offset: 1 } }, at(3)), false);
  });
});

describe('which positions hold', () => {
  const policies: PositionPolicies = {
    startFrom: 'earliest',
    onOffsetsMoved: 'error',
    onOutOfRange: 'error',
  };
  const record: CheckpointRecord = {
    resets: [],
    incarnation: 1,
    number: 7,
    positions: { a: { topicId: 'A', offset: 50 } },
    clock: -1,
    stores: {},
  };
  const input = (over: Partial<InputFacts> = {}): InputFacts => ({
    topic: 'a',
    topicId: 'A',
    bounds: bounds(10, 100),
    committed: { offset: 50, metadata: '1:7' },
    ...over,
  });
  const offsetOf = (decision: ReturnType<typeof decidePositions>): unknown =>
    decision.kind === 'positions' ? [decision.positions['a']?.offset, decision.commitFirst] : decision.kind;

  const rows: readonly [
    string,
    CheckpointRecord | undefined,
    Partial<InputFacts>,
    Partial<PositionPolicies>,
    unknown,
  ][] = [
    ['state and group agree: go on', record, {}, {}, [50, false]],
    ['a first start begins at the earliest offset', undefined, { committed: undefined }, {}, [10, true]],
    [
      'a first start may begin at the latest',
      undefined,
      { committed: undefined },
      { startFrom: 'latest' },
      [100, true],
    ],
    ['the group expired: the state goes on and commits', record, { committed: undefined }, {}, [50, true]],
    [
      'a stale answer of the group is asked again',
      record,
      { committed: { offset: 40, metadata: '1:6' } },
      {},
      'stale',
    ],
    [
      'the group is ahead of the changelog: the state is missing',
      record,
      { committed: { offset: 60, metadata: '1:8' } },
      {},
      'stateMissing',
    ],
    [
      'a newer incarnation is ahead whatever its number',
      record,
      { committed: { offset: 1, metadata: '2:1' } },
      {},
      'stateMissing',
    ],
    ['offsets without any state: the state is missing', undefined, {}, {}, 'stateMissing'],
    [
      'an operator moved the offsets: an error by default',
      record,
      { committed: { offset: 60, metadata: '' } },
      {},
      'offsetsMoved',
    ],
    [
      'an operator moved the offsets forwards and the group is used',
      record,
      { committed: { offset: 60, metadata: '' } },
      { onOffsetsMoved: 'useGroup' },
      [60, true],
    ],
    [
      'rewinding with the state kept is refused',
      record,
      { committed: { offset: 40, metadata: '' } },
      { onOffsetsMoved: 'useGroup' },
      'offsetsMoved',
    ],
    [
      'an operator moved the offsets and the state is used',
      record,
      { committed: { offset: 40, metadata: 'by hand' } },
      { onOffsetsMoved: 'useState' },
      [50, true],
    ],
    ['retention has passed the position', record, { bounds: bounds(51, 100) }, {}, 'outOfRange'],
    [
      'retention has passed the position and the earliest is used',
      record,
      { bounds: bounds(51, 100) },
      { onOutOfRange: 'earliest' },
      [51, true],
    ],
    ['the input was recreated', record, { topicId: 'B' }, {}, 'outOfRange'],
    [
      'the input was recreated and the latest is used',
      record,
      { topicId: 'B' },
      { onOutOfRange: 'latest' },
      [100, true],
    ],
  ];
  for (const [name, state, over, policy, expected] of rows)
    it(name, () => {
      assert.deepEqual(offsetOf(decidePositions(state, [input(over)], { ...policies, ...policy })), expected);
    });

  it('an input that is new to the state starts by policy and the others go on', () => {
    const fresh = input({ topic: 'b', topicId: 'B', committed: undefined });
    const decision = decidePositions(record, [input(), fresh], policies);
    assert.equal(decision.kind, 'positions');
    assert.deepEqual(decision.positions, {
      a: { topicId: 'A', offset: 50 },
      b: { topicId: 'B', offset: 10 },
    });
    assert.equal(decision.commitFirst, true);
  });

  it('without state the group alone is believed, whatever its metadata', () => {
    const decision = decideStatelessPositions([input({ committed: { offset: 42, metadata: '' } })], policies);
    assert.deepEqual(offsetOf(decision), [42, false]);
  });
});
