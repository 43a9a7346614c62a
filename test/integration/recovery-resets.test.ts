/**
 * Resets as an operator meets them, on the embedded log: the suite of `contract/resets.ts`, with commits that the log loses,
 * tears, or never hears of.
 */
import type { LogFaults } from '../../src/log/embedded/log-faults.js';
import { resetsSuite, type Fate } from '../contract/resets.js';
import { LedgerDesk } from '../support/ledger-desk.js';

/** What becomes of the commits, one after the other; beyond the last one all is well. */
let fates: (Fate | 'ok')[] = [];
const faults: LogFaults = {
  before: (operation) => {
    if (operation !== 'commit') return undefined;
    if (fates[0] === 'torn') return fates.shift();
    if (fates[0] !== 'never') return undefined;
    fates.shift();
    throw new Error('it never left');
  },
  after: (operation) => (operation === 'commit' && fates.shift() === 'lost' ? 'lost' : undefined),
};

let desk: LedgerDesk;
resetsSuite({
  open: async () => {
    fates = [];
    return (desk = await LedgerDesk.open({ faults }));
  },
  engines: ['memory', 'level'],
  compact: (topic) => desk.log.compact(topic),
  fates: ['lost', 'never', 'torn'],
  meet: (fate, after) => {
    fates = [...Array<'ok'>(after).fill('ok'), fate];
  },
});
