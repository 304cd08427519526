/**
 * What tells the requests of Engine.IO (Socket.IO's transport) that belong together: a session is opened by one worker,
 * and only that worker knows the id which the following requests carry.
 */
import type { Exchange } from "@portico/gateway/exchange";

const SESSION_ID = /[?&]sid=([\w-]{1,64})(?:&|$)/;
/** The handshake's packet, `0{"sid":"…",…`; protocol 3 writes its length before it. */
const OPENED = /^(?:\d+:)?0\{"sid":"([\w-]{1,64})"/;
/** The id stands at its beginning. */
const LOOKED_AT_BYTES = 128;

/** Whether a request is one of Engine.IO's: its clients say which protocol they speak. */
export function isEngineIo(target: string): boolean {
  return target.includes("EIO=");
}

/** The session that a request belongs to; undefined: it opens one. */
export function sessionOf(target: string): string | undefined {
  return SESSION_ID.exec(target)?.[1];
}

/** Calls `opened` with the id of the session that the response to a handshake opens, before the client has it. */
export function watchHandshake(exchange: Exchange, opened: (id: string) => void): void {
  const respond = exchange.respond.bind(exchange);
  const write = exchange.write.bind(exchange);
  const look = (body: Uint8Array | string | null): void => {
    if (body === null) return;
    const text = typeof body === "string" ? body : Buffer.from(body).toString("latin1", 0, LOOKED_AT_BYTES);
    const id = OPENED.exec(text)?.[1];
    if (id !== undefined) opened(id);
  };
  exchange.respond = (status, headers, body) => {
    look(body);
    respond(status, headers, body);
  };
  exchange.write = (chunk) => {
    look(chunk);
    return write(chunk);
  };
}

/** Whether the application has loaded Engine.IO. It is CommonJS, so it stands in Node's cache of modules. */
export function usesEngineIo(loaded: readonly string[]): boolean {
  return loaded.some((file) => /[\\/]node_modules[\\/]engine\.io[\\/]/.test(file));
}
