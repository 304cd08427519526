/**
 * Runs programs written for `node:http` on exchanges: a listener ({@link nodeHandler}), an `http.Server`
 * ({@link serverHandler}), or a whole program that calls `listen()` ({@link captureListen}).
 */
export { nodeHandler, type NodeHandlerOptions, type NodeListener, type NodeUpgradeListener } from "./node/handler.ts";
export { serverHandler } from "./node/server.ts";
export {
  captureListen,
  type AskedAddress,
  type CapturedServer,
  type CaptureOptions,
  type ListenCapture,
} from "./node/capture.ts";
export { detectNodeApplication, fromNode, type NodeApplication } from "./node/detect.ts";
export { NodeStreamError } from "./node/internals.ts";
export type { ReportError } from "./node/run.ts";
