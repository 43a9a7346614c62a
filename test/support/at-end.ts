/**
 * Owns what has to happen when this process ends, by itself or by a signal: ending children, removing their folders.
 * It never waits, since at that point nothing asynchronous runs any more. kafka-node.ts comes next.
 */
const cleanups = new Set<() => void>();
let listening = false;

/** Runs `cleanup` once, latest first, at the end of this process, unless the returned function is called before. */
export function atEnd(cleanup: () => void): () => void {
  listen();
  cleanups.add(cleanup);
  return () => {
    cleanups.delete(cleanup);
  };
}

function listen(): void {
  if (listening) return;
  listening = true;
  process.once('exit', cleanUp);
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
    process.once(signal, () => {
      cleanUp();
      // The listener is gone by now, so the signal does what it would have done without us.
      process.kill(process.pid, signal);
    });
}

function cleanUp(): void {
  for (const cleanup of [...cleanups].reverse()) cleanup();
  cleanups.clear();
}
