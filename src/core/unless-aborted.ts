/** A wait that a signal can cut short; the work itself goes on, for whoever else wants its result. */

/**
 * The promise's outcome; or, as soon as the signal is aborted, a rejection with its reason, or with what `makeError` makes of
 * it. Leaves no listener behind.
 */
export async function unlessAborted<T>(
  promise: Promise<T>,
  signal: AbortSignal | undefined,
  makeError: (signal: AbortSignal) => Error = ({ reason }) => reason as Error,
): Promise<T> {
  if (signal === undefined) return promise;
  let onAbort: () => void = () => undefined;
  const aborted = new Promise<never>((_, reject) => {
    onAbort = () => {
      reject(makeError(signal));
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener('abort', onAbort, { once: true });
  });
  try {
    // The signal first: if both have come, it counts.
    return await Promise.race([aborted, promise]);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}
