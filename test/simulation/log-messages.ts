/**
 * Every word between managers and the log as a message of the scheduler: it arrives when the scheduler says so, or never, or
 * when its sender has given it up. What the log has done is noted for `holders.ts`.
 */
import type { FaultInfo, LogFaults, LogOperation } from '../../src/log/embedded/log-faults.js';
import { Owner, type Delivery } from './scheduler.js';
import type { Stage } from './stage.js';

/** Carries what its sender does not wait for any more. */
const NETWORK = new Owner('the network');

export function logMessages(stage: Stage): LogFaults {
  let late = 0;
  const hold = async (
    operation: LogOperation,
    info: FaultInfo,
    answer: boolean,
    canBe: readonly Delivery[],
  ): Promise<Delivery> => {
    const owner = stage.owners.get(info.clientId)!;
    const about =
      info.transactionalId ?? (info.topic === undefined ? '' : `${info.topic}/${info.partition ?? ''}`);
    const connection =
      info.transactionalId ?? (info.memberId === undefined ? `${operation} ${about}` : 'group');
    const text = answer
      ? `${owner.name} ← log: ${operation} ${about} answered${answerText(info.answer)}`
      : `${owner.name} → log: ${operation} ${about}`;
    const line = `${owner.name} ${answer ? '←' : '→'} log ${connection}`;
    return stage.scheduler.hold(line, text, owner, stage.ending ? ['arrives'] : canBe);
  };
  const loses = (operation: LogOperation): boolean =>
    operation !== 'describe' && operation !== 'ensure' && operation !== 'leave';
  return {
    before: async (operation, info) => {
      const delivery = await hold(operation, info, false, [
        'arrives',
        // A producer that fails a batch fails those behind it, which this port can't; its answer may be lost.
        ...(loses(operation) && operation !== 'produce' ? (['lost'] as const) : []),
        ...(operation === 'commit' ? (['torn', 'late'] as const) : []),
      ]);
      if (delivery === 'lost') throw new Error('the request was lost');
      if (delivery === 'late') return { late: onItsWay(stage, info, ++late) };
      return delivery === 'torn' ? 'torn' : undefined;
    },
    after: async (operation, info) => {
      const arrived = stage.holders.took(operation, info);
      const canBe: readonly Delivery[] = loses(operation) ? ['arrives', 'lost'] : ['arrives'];
      if ((await hold(operation, info, true, canBe)) === 'lost') return 'lost';
      arrived();
      return undefined;
    },
  };
}

/** What its sender has given up, and what may come long after the sender is gone. */
function onItsWay(stage: Stage, { clientId, transactionalId }: FaultInfo, late: number): Promise<unknown> {
  const text = `a commit of ${clientId} for ${transactionalId ?? ''}, given up before, arrives`;
  const line = `the network, ${late}`;
  stage.scheduler.stallLine(line, (late % 5) * 400);
  return stage.scheduler.hold(line, text, NETWORK);
}

function answerText(answer: unknown): string {
  const kind = (answer as { readonly kind?: unknown } | undefined)?.kind;
  return typeof kind === 'string' ? `: ${kind}` : typeof answer === 'string' ? `: ${answer}` : '';
}
