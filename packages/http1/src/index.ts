export { Http1Error, type Http1ErrorCode } from "./error.ts";
export { RULES, type Rule } from "./rules.ts";
export { DEFAULT_CONNECTION_LIMITS, DEFAULT_LIMITS, type ConnectionLimits, type MessageLimits } from "./limits.ts";
export { DATA, END, FAILED, HEAD, NEED_MORE, type ParserEvent } from "./parser-event.ts";
export { RequestParser } from "./request-parser.ts";
export { ResponseParser, type ExpectedResponse } from "./response-parser.ts";
export {
  CHUNKED_FRAMING,
  NO_FRAMING,
  chunkSize,
  interimHead,
  lastChunk,
  readFields,
  requestHead,
  responseHead,
  switchHead,
  type FieldBlock,
  type OutgoingRequest,
} from "./writer.ts";
export { ServerConnection, type ErrorAnswer, type ErrorFacts, type ServerConnectionOptions } from "./connection.ts";
export { Clock } from "./clock.ts";
export { Http1Exchange } from "./exchange.ts";
export { requestIds, type ConnectionFacts, type Trust } from "./facts.ts";
export type { ByteSink } from "./sink.ts";
export { MALFORMED, MORE, readProxyHeader, type ProxyHeader } from "./proxy-protocol.ts";
