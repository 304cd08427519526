export type {
  Application,
  ApplicationObject,
  FetchHandler,
  Lifespan,
  LifespanContext,
  RecordBody,
  RecordHeaders,
  Reply,
  ResponseRecord,
} from "./application.ts";
export { defineApplication } from "./application.ts";
export type {
  CacheControl,
  Capabilities,
  Capability,
  Connection,
  Context,
  ErrorStream,
  Limits,
  Logger,
  Mount,
  RawHttp,
  Specification,
  Times,
  Trace,
  UpgradeOptions,
  UpgradeReply,
  UpgradeRequest,
  WorkerFacts,
} from "./context.ts";
export type { ErrorSide, GatewayErrorCode } from "./errors.ts";
export { GATEWAY_ERROR_CODES, PorticoGatewayError } from "./errors.ts";
