/**
 * Entry of every host thread: puts the thread's actors and its two ports together. No logic: see
 * `src/threads/host-endpoint.ts` and `src/actor/actor-host.ts`.
 */
import { ActorHost } from '../src/actor/actor-host.js';
import { systemClock } from '../src/core/clock.js';
import { importProcessor } from '../src/processor/import-processor.js';
import { serveHost } from '../src/threads/host-endpoint.js';
import type { HostTask } from '../src/threads/host-methods.js';
import { portLogger } from '../src/threads/port-logger.js';

export default function run(task: HostTask): Promise<void> {
  return serveHost(
    task,
    (log) => new ActorHost({ clock: systemClock, logger: portLogger(log), importProcessor }),
  );
}
