/** Answers of brokers, however the network cuts them. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';

import { isPartitaError } from '../../src/core/errors.js';
import { AnswerAssembler } from '../../src/log/kafka/answer-assembler.js';

function framed(answer: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeInt32BE(answer.length, 0);
  return Buffer.concat([length, answer]);
}

describe('answers put together', () => {
  test('any cut of any answers gives them back, though what was read is overwritten', () => {
    const answers = fc.array(
      fc.tuple(fc.integer({ min: 4, max: 200_000 }), fc.integer({ min: 0, max: 255 })),
      {
        minLength: 1,
        maxLength: 6,
      },
    );
    const cuts = fc.array(fc.integer({ min: 1, max: 80_000 }), { minLength: 1, maxLength: 20 });
    fc.assert(
      fc.property(answers, cuts, fc.boolean(), (sizes, steps, reuses) => {
        const expected = sizes.map(([size, fill]) => Buffer.alloc(size, fill));
        const seen: Buffer[] = [];
        const assembler = new AnswerAssembler(reuses, (answer) => seen.push(Buffer.from(answer)));
        const stream = Buffer.concat(expected.map(framed));
        for (let at = 0, i = 0; at < stream.length; i++) {
          const read = Buffer.from(stream.subarray(at, at + steps[i % steps.length]!));
          at += read.length;
          assembler.push(read);
          read.fill(0xee);
        }
        assert.equal(seen.length, expected.length);
        for (const [i, answer] of seen.entries()) assert.ok(answer.equals(expected[i]!));
      }),
      { numRuns: 100 },
    );
  });

  test('large answers share one buffer only where that was said', () => {
    for (const reuses of [true, false]) {
      const seen: Buffer[] = [];
      const assembler = new AnswerAssembler(reuses, (answer) => seen.push(answer));
      for (const fill of [1, 2]) assembler.push(framed(Buffer.alloc(100_000, fill)));
      assert.equal(seen[0]![0], reuses ? 2 : 1);
    }
  });

  test('after a reset the next bytes begin an answer', () => {
    const seen: number[] = [];
    const assembler = new AnswerAssembler(true, (answer) => seen.push(answer.length));
    assembler.push(framed(Buffer.alloc(50)).subarray(0, 20));
    assembler.reset();
    assembler.push(framed(Buffer.alloc(7)));
    assert.deepEqual(seen, [7]);
  });

  test('bytes of another protocol are refused', () => {
    const assembler = new AnswerAssembler(false, () => assert.fail('no answer'));
    assert.throws(
      () => {
        assembler.push(Buffer.from('HTTP/1.1 400 Bad Request'));
      },
      (error) => isPartitaError(error, 'LOG_UNAVAILABLE'),
    );
  });
});
