export {
  type CallCode,
  CLOSE_CODES,
  type CloseCode,
  LinkError,
  type LinkErrorCode,
  RESET_CODES,
  type ResetCode,
} from "./error.ts";
export { FLAG, FRAME } from "./frame.ts";
export { DEFAULT_LIMITS, FRAME_HEADER_BYTES, type LinkLimits } from "./limits.ts";
export type { LinkRequest } from "./head.ts";
export { LINK_VERSION, type LinkRole, MIN_SECRET_BYTES, type PeerHello } from "./hello.ts";
export type { LinkSink } from "./outbox.ts";
export type { SessionCounters, SessionOptions } from "./session.ts";
export {
  type ClientOptions,
  ClientSession,
  type UpstreamObserver,
  type UpstreamPhase,
  type UpstreamReset,
  type UpstreamStream,
  type WorkerStatus,
} from "./client.ts";
export { ServerSession, type ServerOptions, type WorkerFacts } from "./server.ts";
