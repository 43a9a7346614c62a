/**
 * The public door. Everything that users need, by name; nothing is exported that is not listed here. A processor module
 * imports it in the worker too, so what is heavy (piscina, zod, the engines) is loaded when a manager starts.
 */
export { StateManager } from './manager/state-manager.js';
export type { Location, RoutersOf } from './manager/stream-routers.js';
export type { ManagerStats, PartitionStats } from './manager/manager-stats.js';
export type { ManagerOptions, Guarantee, Streams } from './manager/options.js';
export type { MovedPartition } from './manager/movement.js';
export type { AtPartition, ManagerEvents, MoveReason } from './manager/events.js';
export type {
  CallOptions,
  CallTarget,
  CommandOptions,
  QueryOptions,
  Router,
} from './manager/stream-router.js';
export { processorAt } from './processor/processor-at.js';
export type { ProcessorRef } from './processor/processor-at.js';
export { defineProcessor } from './processor/define-processor.js';
export type {
  Context,
  Emit,
  EmitOptions,
  ErrorDecision,
  ErrorPolicy,
  FailedRecord,
  Headers,
  Processor,
  ProcessorDefinition,
  QueryContext,
  RecordOf,
} from './processor/define-processor.js';
export type { Schedule, ScheduleTimer, TimerOptions } from './processor/timers.js';
export { keyValue, topic } from './processor/declarations.js';
export type {
  Frozen,
  KeyValue,
  KeyValueDeclaration,
  RangeOptions,
  ReadonlyKeyValue,
  Topic,
} from './processor/declarations.js';
export {
  count,
  countHopping,
  countSliding,
  hopping,
  session,
  sliding,
  tumbling,
  windowed,
} from './processor/windowed.js';
export type {
  LateEvent,
  ReadonlyWindowed,
  Trigger,
  Window,
  Windowed,
  WindowedDeclaration,
  WindowedOptions,
  WindowResult,
  WindowScanOptions,
} from './processor/windowed.js';
export type { Aggregation, Aggregations } from './processor/aggregations.js';
export { table } from './processor/tables.js';
export type { Table } from './processor/tables.js';
export { asOfJoin } from './joins/as-of-join.js';
export type { AsOf, AsOfJoin, AsOfJoinOptions } from './joins/as-of-join.js';
export { streamJoin } from './joins/stream-join.js';
export type { Joined, LateRecord, StreamJoin, StreamJoinOptions } from './joins/stream-join.js';
export { timestamped } from './processor/timestamped.js';
export type {
  ReadonlyTimestamped,
  Timestamped,
  TimestampedDeclaration,
  TimestampedEntry,
  TimestampedOptions,
} from './processor/timestamped.js';
export { bytes, float64, int64, json, msgpack, nullable, string } from './codec/serdes.js';
export type { Serde } from './processor/serde.js';
export { EmbeddedLog, embeddedLog } from './log/embedded/embedded-log.js';
export type { EmbeddedLogOptions, ReadRecord } from './log/embedded/embedded-log.js';
export type { FaultInfo, LogFaults, LogOperation } from './log/embedded/log-faults.js';
export type { GroupDescription } from './log/embedded/group-coordinator.js';
export type { ProducedRecord } from './log/embedded/record-router.js';
export { kafka } from './log/kafka/kafka-log.js';
export type { KafkaLogOptions } from './log/kafka/kafka-options.js';
export type { LogFactory, TopicSpec } from './log/log-client.js';
export type { TopicPartition } from './core/log-types.js';
export type { EngineKind } from './core/engine-kind.js';
export { ERROR_CODES, isPartitaError, PartitaError } from './core/errors.js';
export type { ErrorCode, ErrorDetails } from './core/errors.js';
export { consoleLogger, silentLogger } from './core/logger.js';
export type { Logger, LogFields, LogLevel, LogMethod } from './core/logger.js';
export { MemoryMetrics, noMetrics } from './core/metrics.js';
export type { Counter, Gauge, Histogram, Labels, Metrics } from './core/metrics.js';
export type { Clock } from './core/clock.js';
