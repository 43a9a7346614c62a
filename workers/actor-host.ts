/**
 * Entry of every host thread: puts the thread's actors and its two ports together. No logic: see
 * `src/threads/host-endpoint.ts` and `src/actor/actor-host.ts`.
 */
import { ActorHost } from '../src/actor/actor-host.js';
import { systemClock } from '../src/core/clock.js';
import { isDebugged } from '../src/core/debugged.js';
import { importProcessor } from '../src/processor/import-processor.js';
import { serveHost } from '../src/threads/host-endpoint.js';
import type { HostTask } from '../src/threads/host-methods.js';
import { portLogger } from '../src/threads/port-logger.js';
import { ThreadPulse } from '../src/threads/pulse.js';

export default function run(task: HostTask): Promise<void> {
  const pulse = new ThreadPulse(task.pulse);
  pulse.beat(systemClock, task.watchdogMs);
  return serveHost(
    task,
    (log) =>
      new ActorHost({
        clock: systemClock,
        logger: portLogger(log),
        importProcessor,
        isDebugged: () => pulse.isDebugged || isDebugged(),
      }),
  );
}
