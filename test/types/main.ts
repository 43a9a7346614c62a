/* eslint-disable @typescript-eslint/ban-ts-comment, @typescript-eslint/no-unsafe-call, @typescript-eslint/no-unsafe-member-access -- the wrong uses are the point */
/** A program that talks to the processor of `payments.ts`: that this file compiles is the test. Nothing runs it. */
import { expectTypeOf } from 'expect-type';
import { embeddedLog, processorAt, StateManager } from '../../src/index.js';
import type payments from './payments.js';

export async function main(): Promise<void> {
  await using manager = await StateManager.start({
    group: 'payments',
    log: await embeddedLog(),
    stateDir: './state',
    workers: 4,
    guarantee: 'exactly-once',
    streams: {
      payments: processorAt<typeof payments>(new URL('./payments.js', import.meta.url), { limit: 100 }),
    },
  });
  const { payments: router } = manager.streams;

  const total = await router.query('total', { key: 'alice' });
  expectTypeOf(total).toEqualTypeOf<
    { readonly sum: number; readonly n: number; readonly tags: readonly string[] } | undefined
  >();
  const top = await router.query('top', { partition: 0, args: [10], read: 'committed' });
  expectTypeOf(top).toEqualTypeOf<{ k: string; sum: number }[]>();
  const all = await router.queryAll('top', { args: [10] });
  expectTypeOf(all).toEqualTypeOf<ReadonlyMap<number, { k: string; sum: number }[]>>();
  const refund = await router.command('refund', { key: 'alice', args: [5], ack: 'committed' });
  if (refund.ok) expectTypeOf(refund.sum).toEqualTypeOf<number>();
  await router.command('reset', { key: 'alice', timeoutMs: 100, signal: AbortSignal.timeout(50) });
  await router.send('payments', { key: 'alice', value: { id: '1', amount: 5, currency: 'EUR' } });
  manager.on('checkpoint', (event) => {
    expectTypeOf(event.durationMs).toEqualTypeOf<number>();
  });

  // @ts-expect-error missing args
  await router.command('refund', { key: 'alice' });
  // @ts-expect-error wrong arg type
  await router.command('refund', { key: 'alice', args: ['5'] });
  // @ts-expect-error unknown query
  await router.query('nope', { key: 'a' });
  // @ts-expect-error key is a string
  await router.query('total', { key: 5 });
  // @ts-expect-error neither key nor partition
  await router.query('total', {});
  // @ts-expect-error bad value
  await router.send('payments', { key: 'alice', value: { id: '1' } });
  // @ts-expect-error no such input
  await router.send('nowhere', { key: 'alice', value: 1 });
  // @ts-expect-error no such event
  manager.on('nothing', () => undefined);
  // @ts-expect-error no such stream
  manager.streams.orders.query('total', { key: 'a' });
  const url = new URL('./payments.js', import.meta.url);
  // @ts-expect-error config is required
  processorAt<typeof payments>(url);
  // @ts-expect-error wrong config
  processorAt<typeof payments>(url, { limit: 'x' });
  const log = await embeddedLog();
  // @ts-expect-error no such guarantee
  await StateManager.start({ group: 'g', log, stateDir: '.', streams: {}, guarantee: 'maybe' });
}
