/* eslint-disable @typescript-eslint/no-explicit-any -- inference over processors of any parts */
/**
 * `processorAt`: names a processor module by its URL, typed from the module by `import type`, so that the main thread's
 * program need not load it. Holds data only; `manager/stream-plan.ts` reads it.
 */
import type { Parts, Processor } from './define-processor.js';

declare const REFERS: unique symbol;

/** A processor by the URL of its module, with its configuration. */
export interface ProcessorRef<X> {
  readonly url: URL;
  readonly config: unknown;
  readonly [REFERS]?: X;
}

/**
 * @param url of the compiled module: `new URL('./payments.js', import.meta.url)`
 * @param config what the processor's `config.parse` takes, structured-cloneable; only if it declares one
 */
export function processorAt<X extends Processor<any, any, any, any>>(
  url: URL,
  ...config: undefined extends Parts<X, 'c'> ? [] : [config: Parts<X, 'c'>]
): ProcessorRef<X> {
  return { url, config: config[0] };
}
