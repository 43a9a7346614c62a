/** A checkpoint alone: whatever goes wrong, its promise says it. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Checkpoint } from '../../src/actor/checkpoint.js';
import { ManualClock } from '../../src/core/clock.js';
import { PartitaError } from '../../src/core/errors.js';
import type { StateStore } from '../../src/state/state-store.js';
import type { ActorSpec, ActorUplink } from '../../src/threads/protocol.js';

test('a database that is found damaged while the layer is frozen fails the checkpoint, not its caller', async () => {
  const damage = new PartitaError('CORRUPT', 'injected');
  const state: Pick<StateStore, 'freeze'> = {
    freeze: () => {
      throw damage;
    },
  };
  const checkpoint = new Checkpoint({
    spec: { id: { stream: 's', partition: 0 } } as ActorSpec,
    uplink: {} as ActorUplink,
    clock: new ManualClock(),
    state: state as StateStore,
    partition: undefined,
    stores: {},
    resets: [],
    last: { incarnation: 0, number: 0 },
  });
  const contents = {
    reason: 'asked',
    positions: {},
    eventClock: -1,
    outputs: [],
    commands: [],
    records: 0,
    outputsSent: undefined,
    reset: false,
  } as const;
  const running = checkpoint.run(contents, () => undefined);
  await assert.rejects(running, damage);
  assert.equal(checkpoint.lifecycle.state, 'failed');
});
