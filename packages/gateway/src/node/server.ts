import type { IncomingMessage, Server } from "node:http";
import type { Exchange, ExchangeHandler } from "../exchange.ts";
import { http } from "./builtins.ts";
import { expressPrototypes, type NodeHandlerOptions, type NodeListener, serve } from "./handler.ts";
import { serverOptionsInside } from "./internals.ts";
import { fillRequest } from "./request.ts";

const CONTINUE = /(?:^|\W)100-continue(?:$|\W)/i;

/**
 * Runs an `http.Server` on exchanges: its 'request', 'upgrade', 'connect', 'checkContinue' and 'checkExpectation'
 * listeners are called as if the exchange had come over a connection of its own. The server need not listen.
 *
 * Of the server's options, `IncomingMessage`, `ServerResponse`, `uniqueHeaders`, `joinDuplicateHeaders`,
 * `rejectNonStandardBodyWrites`, `shouldUpgradeCallback` and `timeout` have effect. Those about connections
 * (`keepAliveTimeout`, `requestTimeout`, `maxHeaderSize`, …) are the transport's, and 'connection' is not emitted.
 */
export function serverHandler(
  server: Server,
  options: Pick<NodeHandlerOptions, "onError"> & { readonly onBegin?: () => void; readonly onEnded?: () => void } = {},
): ExchangeHandler {
  const emits = (name: "upgrade" | "connect") => (request: unknown, socket: unknown, head: unknown) =>
    server.emit(name, request, socket, head);
  const upgrade = emits("upgrade");
  const connect = emits("connect");
  const listener: NodeListener = (request, response) => server.emit("request", request, response);
  const listeners = server.listeners("request");
  return serve({
    ...options,
    server,
    listener,
    inside: serverOptionsInside(server),
    prototypes: listeners.length === 1 ? expressPrototypes(listeners[0]) : undefined,
    expectation(value, request, response) {
      if (CONTINUE.test(value)) {
        return server.emit("checkContinue", request, response);
      }
      if (!server.emit("checkExpectation", request, response)) {
        response.writeHead(417).end();
      }
      return true;
    },
    upgradeListener: (exchange) => (wantsUpgrade(server, exchange) ? upgrade : undefined),
    connectListener: () => (server.listenerCount("connect") > 0 ? connect : undefined),
  });
}

/** `shouldUpgradeCallback` decides where the server has one (Node ≥ 24.9). */
function wantsUpgrade(server: Server, exchange: Exchange): boolean {
  if (server.listenerCount("upgrade") === 0) {
    return false;
  }
  const { shouldUpgradeCallback } = server as { shouldUpgradeCallback?: (request: IncomingMessage) => boolean };
  if (shouldUpgradeCallback === undefined) {
    return true;
  }
  const request = fillRequest(new http.IncomingMessage(undefined as never), exchange, undefined);
  return shouldUpgradeCallback.call(server, request);
}
