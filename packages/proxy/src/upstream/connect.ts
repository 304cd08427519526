/** Makes the transport that a server's address asks for. The only place that knows which there are. */
import type { NetConnectOpts } from "node:net";
import { dialLink } from "@portico/link/socket";
import { HttpClient } from "./http-client.ts";
import { LinkTransport, type LinkDial } from "./link.ts";
import type { ServerAddress } from "./address.ts";
import type { UpstreamContext } from "./context.ts";
import { tlsOptions } from "./tls.ts";
import type { Wheel } from "./wheel.ts";

/** TCP keep-alive, milliseconds: finds a machine that is gone without a word. */
const KEEP_ALIVE_MS = 30_000;

export interface ConnectorOptions {
  readonly wheel: Wheel;
  /** Proved to servers reached by the link over TCP; at least 16 bytes. */
  readonly linkSecret?: string | undefined;
  /** An observer threw: a fault of ours, its stream was reset. */
  readonly onError?: (error: unknown) => void;
}

export function createConnector(options: ConnectorOptions): UpstreamContext["connect"] {
  return (configured, place, settings, tls, events) => {
    const address = { ...configured, host: place.name, port: place.port };
    if (address.protocol === "link") {
      return new LinkTransport(dialler(address, place.host, settings.connectTimeout, options), options.wheel, events);
    }
    const { connectTimeout, keepAlive } = settings;
    const secure = address.protocol === "https" ? tlsOptions(tls!, place.name, "http/1.1") : undefined;
    const http = { connectTimeout, keepAlive, onError: options.onError, secure };
    return new HttpClient(address, place.host, http, options.wheel, events);
  };
}

function dialler(address: ServerAddress, host: string, timeoutMs: number, options: ConnectorOptions): LinkDial {
  return (events) => {
    let timedOut = false;
    let connected = false;
    const target: NetConnectOpts =
      address.path === undefined
        ? { host, port: address.port, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_MS }
        : { path: address.path };
    // Connecting and the handshake together.
    const timer = setTimeout(() => {
      timedOut = true;
      socket.destroy();
    }, timeoutMs);
    let failure: Error | undefined;
    const { session, socket } = dialLink(target, {
      serves: ["accel"],
      // The secret is for the network; a unix socket has its file mode.
      ...(options.linkSecret === undefined || address.path !== undefined ? {} : { secret: options.linkSecret }),
      onReady(hello) {
        clearTimeout(timer);
        events.onReady(hello);
      },
      onDrain: () => events.onDrain(),
      onStatus: (status) => events.onStatus(status),
      onClosed(error) {
        clearTimeout(timer);
        const reason = timedOut ? `no link within ${timeoutMs} ms` : (failure?.message ?? error?.message ?? "drained");
        events.onClosed(reason, timedOut, connected);
      },
      ...(options.onError === undefined ? {} : { onError: options.onError }),
    });
    socket.once("connect", () => {
      connected = true;
    });
    socket.on("error", (error) => {
      failure = error;
    });
    return { session, destroy: () => socket.destroy() };
  };
}
