import { type IncomingMessage, ServerResponse } from "node:http";
import type { Duplex } from "node:stream";
import type { Socket } from "node:net";
import type { Host } from "../host.ts";
import { NodeExchange } from "./exchange.ts";

/** The listeners by which a server of `node:http` feeds a host; each is named after its event. */
export interface NodeFeed {
  readonly request: (request: IncomingMessage, response: ServerResponse) => void;
  readonly checkContinue: (request: IncomingMessage, response: ServerResponse) => void;
  readonly upgrade: (request: IncomingMessage, socket: Duplex, early: Buffer) => void;
}

export function feedOf(host: Host): NodeFeed {
  return {
    request: (request, response) => {
      host.handler(new NodeExchange(request, response, undefined));
    },
    checkContinue: (request, response) => {
      host.handler(new NodeExchange(request, response, () => response.writeContinue()));
    },
    upgrade: (request, socket, early) => {
      const response = new ServerResponse(request);
      response.assignSocket(socket as Socket);
      // After an upgrade event node:http does not look after the socket: a refusal is its last response.
      response.shouldKeepAlive = false;
      response.on("finish", () => socket.end());
      socket.on("error", () => socket.destroy());
      const exchange = new NodeExchange(request, response, undefined);
      exchange.unshift(early);
      host.handler(exchange);
    },
  };
}
