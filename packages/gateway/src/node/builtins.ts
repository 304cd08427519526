/**
 * `node:http` and `node:https`, taken without their ES module facades: `import` of them reads every export, and those
 * of the WebSocket and fetch classes load all of Node's own client, some 20 ms of a worker's start.
 */
import type * as NodeHttp from "node:http";
import { Server as NetServer } from "node:net";
import type * as NodeHttps from "node:https";

export const http: typeof NodeHttp = process.getBuiltinModule("node:http");

/** Of `node:http`, or of `node:https`: that one is asked for, and TLS loaded with it, only where the value looks like one. */
export function isHttpServer(value: unknown): value is NodeHttp.Server | NodeHttps.Server {
  if (value instanceof http.Server) return true;
  // What the constructors of both set: a server of `net` or `http2` has it not.
  if (!(value instanceof NetServer) || !("httpAllowHalfOpen" in value)) return false;
  return value instanceof process.getBuiltinModule("node:https").Server;
}
