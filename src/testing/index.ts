/**
 * The door `partita/testing`: a driver that runs a processor in the test's own thread, without a manager, threads or a
 * broker, on a clock that the test moves. Nothing here is meant for production.
 */
export {
  TestDriver,
  type CallTo,
  type DriverOptions,
  type OutputRecord,
  type PipedRecord,
  type StoreReader,
  type TimestampedReader,
  type WindowReader,
} from './test-driver.js';
export { ManualClock } from '../core/clock.js';
