/** Addresses of servers, as the configuration has checked them. */
import { isIP } from "node:net";

/** A server's address, taken apart. */
export interface ServerAddress {
  readonly protocol: "link" | "http" | "https";
  /** Path of a unix socket; undefined for TCP. */
  readonly path: string | undefined;
  /** Name or address without brackets; empty for a unix socket. */
  readonly host: string;
  /** 0 where SRV records say it. */
  readonly port: number;
  /** The host is a service, which SRV records resolve. */
  readonly service: boolean;
  /** What the log calls it. */
  readonly text: string;
}

const DEFAULT_PORTS = { http: 80, https: 443, link: 0 } as const;

type Protocol = ServerAddress["protocol"];

/** Takes `http://host:port`, `https://…`, `http+unix:/path`, `http+srv://name`, `link://host:port` and `link+unix:/path` apart. */
export function parseServerAddress(text: string): ServerAddress {
  const unix = /^(http|link)\+unix:(\/.*)$/s.exec(text);
  if (unix !== null) {
    return { protocol: unix[1] as Protocol, path: unix[2]!, host: "", port: 0, service: false, text };
  }
  const srv = /^(http|https|link)\+srv:\/\/(.*)$/s.exec(text);
  if (srv !== null) {
    return { protocol: srv[1] as Protocol, path: undefined, host: srv[2]!, port: 0, service: true, text };
  }
  const url = new URL(text);
  const protocol = url.protocol.slice(0, -1) as Protocol;
  const host = url.hostname.startsWith("[") ? url.hostname.slice(1, -1) : url.hostname;
  const port = url.port === "" ? DEFAULT_PORTS[protocol] : Number(url.port);
  return { protocol, path: undefined, host, port, service: false, text };
}

/** True where a name has to be looked up: not a unix socket, not an address, not this machine. */
export function needsLookup(address: ServerAddress): boolean {
  if (address.service) return true;
  // `localhost` is one server whichever family it listens on: connecting by name tries both.
  return address.path === undefined && isIP(address.host) === 0 && address.host !== "localhost";
}

/** The address in a Host field: without the protocol's own port. */
export function authorityOf(address: ServerAddress): string {
  if (address.path !== undefined) return "localhost";
  const host = isIP(address.host) === 6 ? `[${address.host}]` : address.host;
  return address.service || address.port === DEFAULT_PORTS[address.protocol] ? host : `${host}:${address.port}`;
}
