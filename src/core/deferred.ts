/** A promise that whoever made it settles, for what is waited for before there is anybody to ask. */

/** Without a waiter its rejection is nobody's news. */
export class Deferred<T> {
  readonly promise: Promise<T>;
  resolve: (value: T) => void = () => undefined;
  reject: (error: unknown) => void = () => undefined;

  constructor() {
    this.promise = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject as (error: unknown) => void;
    });
    this.promise.catch(() => undefined);
  }
}
