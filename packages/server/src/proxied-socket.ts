/** In the worker: the PROXY protocol header before a connection's own first byte. */
import type { Socket } from "node:net";
import { MALFORMED, MORE, readProxyHeader } from "@portico/http1";
import type { ConnectionFacts } from "@portico/http1";
import { socketFacts } from "@portico/http1/socket";
import type { TrustTest } from "./trust.ts";

/** A balancer sends it with its first packet; longer than any way between two machines. */
const HEADER_MS = 5_000;

/**
 * Reads the header, and hands the connection on with what it says. Closed instead: a peer that is not trusted, since
 * anybody could say anything, and a connection that begins with something else.
 *
 * The facts have the client in the peer's place: it is the one that speaks HTTP here, and its forwarded fields are
 * believed only if it is itself a trusted front.
 */
export function readProxied(
  socket: Socket,
  trust: TrustTest,
  pass: (socket: Socket, facts: ConnectionFacts, rest: Uint8Array) => void,
  refused: (peer: string, why: string) => void,
): void {
  const facts = socketFacts(socket);
  const close = (why: string): void => {
    refused(facts.peer.address, why);
    socket.destroy();
  };
  socket.on("error", () => socket.destroy());
  if (!trust(facts.peer.address)) return close("it is not among forwardedAllowIps");
  let received: Buffer = Buffer.alloc(0);
  const timer = setTimeout(close, HEADER_MS, "no PROXY protocol header came");
  socket.once("close", () => clearTimeout(timer));
  const read = (chunk: Buffer): void => {
    received = received.length === 0 ? chunk : Buffer.concat([received, chunk]);
    const header = readProxyHeader(received);
    if (header === MORE) return;
    clearTimeout(timer);
    socket.off("data", read);
    if (header === MALFORMED) return close("what it sent is no PROXY protocol header");
    socket.pause();
    pass(socket, factsFrom(facts, header), received.subarray(header.length));
  };
  socket.on("data", read);
}

type Said = Exclude<ReturnType<typeof readProxyHeader>, string>;

function factsFrom(facts: ConnectionFacts, { source, destination }: Said): ConnectionFacts {
  if (source === undefined) return facts; // the balancer's own health check
  return {
    ...facts,
    peer: source,
    local: destination ?? facts.local,
    client: { ...source, vouchedBy: "proxy-protocol" },
  };
}
