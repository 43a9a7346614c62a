/** Tests of `core/mailbox.ts`, against two plain arrays. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Mailbox } from '../../src/core/mailbox.js';

type Step =
  | { readonly do: 'push'; readonly bytes: number }
  | { readonly do: 'control' | 'shift' | 'shiftData' | 'shiftControl' | 'drain' };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 6, arbitrary: fc.record({ do: fc.constant('push' as const), bytes: fc.nat(40) }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom(
        'control' as const,
        'shift' as const,
        'shiftData' as const,
        'shiftControl' as const,
      ),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drain' as const) }) },
);

test('control goes first, data keeps its order, and neither count nor bytes exceed their bound', () => {
  fc.assert(
    fc.property(
      fc.array(step, { maxLength: 300 }),
      fc.integer({ min: 1, max: 50 }),
      fc.nat(400),
      (steps, itemsMax, bytesMax) => {
        const mailbox = new Mailbox<number>({ itemsMax, bytesMax, controlMax: 20 });
        const data: { id: number; bytes: number }[] = [];
        const control: number[] = [];
        const heldBytes = (): number => data.reduce((sum, item) => sum + item.bytes, 0);
        steps.forEach((action, id) => {
          switch (action.do) {
            case 'push': {
              const room =
                data.length === 0 || (data.length < itemsMax && heldBytes() + action.bytes <= bytesMax);
              assert.equal(mailbox.push(id, action.bytes), room);
              if (room) data.push({ id, bytes: action.bytes });
              break;
            }
            case 'control':
              assert.equal(mailbox.pushControl(id), control.length < 20);
              if (control.length < 20) control.push(id);
              break;
            case 'shift':
              assert.equal(mailbox.shift(), control.length > 0 ? control.shift() : data.shift()?.id);
              break;
            case 'shiftData':
              assert.equal(mailbox.peekData(), data[0]?.id);
              assert.equal(mailbox.shiftData(), data.shift()?.id);
              break;
            case 'shiftControl':
              assert.equal(mailbox.shiftControl(), control.shift());
              break;
            case 'drain':
              assert.deepEqual(mailbox.drain(), [
                ...control.splice(0),
                ...data.splice(0).map((item) => item.id),
              ]);
              break;
          }
          assert.equal(mailbox.length, data.length + control.length);
          assert.equal(mailbox.dataLength, data.length);
          assert.equal(mailbox.controlLength, control.length);
          assert.equal(mailbox.bytes, heldBytes());
        });
      },
    ),
    { numRuns: 300 },
  );
});

test('an item larger than the whole bound still gets through an empty mailbox', () => {
  const mailbox = new Mailbox<string>({ itemsMax: 10, bytesMax: 100 });
  assert.equal(mailbox.push('huge', 5_000), true);
  assert.equal(mailbox.push('small', 1), false);
  assert.equal(mailbox.shift(), 'huge');
  assert.equal(mailbox.push('small', 1), true);
});
