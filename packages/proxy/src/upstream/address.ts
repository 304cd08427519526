/** Addresses of servers, as the configuration has checked them. */
import { isIP } from "node:net";

/** A server's address, taken apart. */
export interface ServerAddress {
  readonly protocol: "link" | "http" | "https";
  /** Path of a unix socket; undefined for TCP. */
  readonly path: string | undefined;
  /** Name or address without brackets; empty for a unix socket. */
  readonly host: string;
  readonly port: number;
  /** What the log calls it. */
  readonly text: string;
}

const DEFAULT_PORTS = { http: 80, https: 443, link: 0 } as const;

/** Takes `http://host:port`, `https://…`, `http+unix:/path`, `link://host:port` and `link+unix:/path` apart. */
export function parseServerAddress(text: string): ServerAddress {
  const unix = /^(http|link)\+unix:(\/.*)$/s.exec(text);
  if (unix !== null) {
    return { protocol: unix[1] as "http" | "link", path: unix[2]!, host: "", port: 0, text };
  }
  const url = new URL(text);
  const protocol = url.protocol.slice(0, -1) as ServerAddress["protocol"];
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  return { protocol, path: undefined, host, port: url.port === "" ? DEFAULT_PORTS[protocol] : Number(url.port), text };
}

/** True where a name has to be looked up: not a unix socket, not an address, not this machine. */
export function needsLookup(address: ServerAddress): boolean {
  // `localhost` is one server whichever family it listens on: connecting by name tries both.
  return address.path === undefined && isIP(address.host) === 0 && address.host !== "localhost";
}

/** The address in a Host field: without the protocol's own port. */
export function authorityOf(address: ServerAddress): string {
  if (address.path !== undefined) return "localhost";
  const host = isIP(address.host) === 6 ? `[${address.host}]` : address.host;
  return address.port === DEFAULT_PORTS[address.protocol] ? host : `${host}:${address.port}`;
}
