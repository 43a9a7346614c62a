/**
 * The five lifecycles, each a table under its drawing; `docs/lifecycles.md` shows the same, and a test compares them.
 * A table holds every move that may happen, nothing of what happens in it.
 */
import type { LifecycleTable } from './lifecycle.js';

/**
 * ```
 * created ─► opening ─► recovering ─► running ─► parked ─► recovering | running
 * any of these ─► closing ─► closed
 * any but closed ─► failed ─► opening (restart) | closed
 * ```
 */
export type ActorState =
  'created' | 'opening' | 'recovering' | 'running' | 'parked' | 'closing' | 'closed' | 'failed';
export const actorLifecycle: LifecycleTable<ActorState> = {
  name: 'actor',
  initial: 'created',
  moves: {
    created: ['opening', 'closing', 'failed'],
    opening: ['recovering', 'closing', 'failed'],
    recovering: ['running', 'closing', 'failed'],
    running: ['parked', 'closing', 'failed'],
    parked: ['recovering', 'running', 'closing', 'failed'],
    closing: ['closed', 'failed'],
    closed: [],
    failed: ['opening', 'closed'],
  },
};

/**
 * ```
 * idle ─► frozen ─► committing ─► flushing ─► idle     (beside a running actor)
 * any ─► failed: both layers are dropped, the actor restarts from what is committed
 * ```
 */
export type CheckpointState = 'idle' | 'frozen' | 'committing' | 'flushing' | 'failed';
export const checkpointLifecycle: LifecycleTable<CheckpointState> = {
  name: 'checkpoint',
  initial: 'idle',
  moves: {
    idle: ['frozen', 'failed'],
    frozen: ['committing', 'failed'],
    committing: ['flushing', 'failed'],
    flushing: ['idle', 'failed'],
    failed: [],
  },
};

/**
 * ```
 * started ─► prepared ─► complete
 * started | prepared ─► discarded
 * started | prepared ─► failed
 * ```
 */
export type TransactionState = 'started' | 'prepared' | 'complete' | 'discarded' | 'failed';
export const transactionLifecycle: LifecycleTable<TransactionState> = {
  name: 'transaction',
  initial: 'started',
  moves: {
    started: ['prepared', 'discarded', 'failed'],
    prepared: ['complete', 'discarded', 'failed'],
    complete: [],
    discarded: [],
    failed: [],
  },
};

/**
 * ```
 * starting ─► ready ─► draining ─► exited
 * starting ─► draining: stopped before it was ready
 * any but exited ─► died
 * ```
 */
export type ThreadState = 'starting' | 'ready' | 'draining' | 'exited' | 'died';
export const threadLifecycle: LifecycleTable<ThreadState> = {
  name: 'thread',
  initial: 'starting',
  moves: {
    starting: ['ready', 'draining', 'died'],
    ready: ['draining', 'died'],
    draining: ['exited', 'died'],
    exited: [],
    died: [],
  },
};

/**
 * ```
 * idle ─► starting ─► running ◄─► rebalancing
 * running | rebalancing ─► left: out of the group, because a partition failed
 * starting | running | rebalancing | left ─► stopping ─► stopped
 * any but stopped ─► failed ─► stopping: a failed manager still has to release what it holds
 * ```
 */
export type ManagerState =
  'idle' | 'starting' | 'running' | 'rebalancing' | 'left' | 'stopping' | 'stopped' | 'failed';
export const managerLifecycle: LifecycleTable<ManagerState> = {
  name: 'manager',
  initial: 'idle',
  moves: {
    idle: ['starting', 'failed'],
    starting: ['running', 'stopping', 'failed'],
    running: ['rebalancing', 'left', 'stopping', 'failed'],
    rebalancing: ['running', 'left', 'stopping', 'failed'],
    left: ['stopping', 'failed'],
    stopping: ['stopped', 'failed'],
    stopped: [],
    failed: ['stopping'],
  },
};
