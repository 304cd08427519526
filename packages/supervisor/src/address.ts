/**
 * Listen addresses as people write them.
 *
 * | written | meaning |
 * | --- | --- |
 * | `host:port`, `[::1]:port`, `http://host:port` | TCP, HTTP/1.1 |
 * | `:port`, `*:port`, `port` | TCP on every interface, IPv6 and IPv4 where the machine has both |
 * | `unix:/path`, `http+unix:/path` | unix socket, HTTP/1.1 |
 * | `fd://N` | a listening socket that this process inherited as descriptor N |
 * | `systemd:`, `systemd:name` | sockets passed by systemd (`LISTEN_FDS`), all or those of a name |
 * | `link://host:port`, `link+unix:/path`, `link+fd://N`, `link+systemd:name` | the same, link protocol |
 */
import { SupervisorError } from "./errors.ts";

export type ListenProtocol = "http" | "link";

export interface TcpAddress {
  readonly protocol: ListenProtocol;
  readonly kind: "tcp";
  /** Numeric address or name; empty: every interface. IPv6 without brackets. */
  readonly host: string;
  /** 0: the system chooses. */
  readonly port: number;
}

export interface UnixAddress {
  readonly protocol: ListenProtocol;
  readonly kind: "unix";
  readonly path: string;
}

export interface DescriptorAddress {
  readonly protocol: ListenProtocol;
  readonly kind: "fd";
  readonly fd: number;
}

export interface SystemdAddress {
  readonly protocol: ListenProtocol;
  readonly kind: "systemd";
  /** FileDescriptorName of the socket unit; undefined: all sockets that were passed. */
  readonly name: string | undefined;
}

export type ListenAddress = TcpAddress | UnixAddress | DescriptorAddress | SystemdAddress;

const PORT_MAX = 65_535;
// sun_path is 108 bytes on Linux and 104 on the BSDs and macOS, its final zero included; 8 are for the suffix that a
// socket has while it is being made (see listener.ts).
const UNIX_PATH_MAX_BYTES = (process.platform === "linux" ? 107 : 103) - 8;

function invalid(text: string, why: string): SupervisorError {
  return new SupervisorError(
    "address_invalid",
    `cannot listen on "${text}": ${why} (expected host:port, unix:/path, link://host:port, link+unix:/path, fd://N or systemd:)`,
  );
}

function parseTcp(text: string, rest: string, protocol: ListenProtocol): TcpAddress {
  const match = /^(?:\[([^\]]*)\]|([^:[\]/\s]*)):(\d{1,5})$/.exec(rest) ?? /^()()(\d{1,5})$/.exec(rest);
  if (match === null) throw invalid(text, rest.includes(":") ? "the port is not a number" : "it has no port");
  const port = Number(match[3]);
  if (port > PORT_MAX) throw invalid(text, `port ${port} is above ${PORT_MAX}`);
  const host = match[1] || match[2] || "";
  return { protocol, kind: "tcp", host: host === "*" ? "" : host, port };
}

function parseUnix(text: string, rest: string, protocol: ListenProtocol): UnixAddress {
  const path = rest.replace(/^\/\/(?=\/)/, "");
  if (path === "" || path.includes("\0")) throw invalid(text, "it has no usable path");
  if (Buffer.byteLength(path) > UNIX_PATH_MAX_BYTES) {
    throw invalid(text, `a unix socket path has at most ${UNIX_PATH_MAX_BYTES} bytes`);
  }
  return { protocol, kind: "unix", path };
}

function parseDescriptor(text: string, rest: string, protocol: ListenProtocol): DescriptorAddress {
  const digits = /^(?:\/\/)?(\d{1,7})$/.exec(rest)?.[1];
  if (digits === undefined) throw invalid(text, "the descriptor is not a number");
  return { protocol, kind: "fd", fd: Number(digits) };
}

/** Prefixes in the order they are tried; whatever has none is `host:port`. */
const FORMS: readonly [RegExp, (text: string, rest: string, protocol: ListenProtocol) => ListenAddress][] = [
  [/^(?:(http|link)\+)?unix:/, parseUnix],
  [/^(?:(http|link)\+)?fd:/, parseDescriptor],
  [/^(?:(http|link)\+)?systemd:/, (_, rest, protocol) => ({ protocol, kind: "systemd", name: rest || undefined })],
  [/^(http|link):\/\//, (text, rest, protocol) => parseTcp(text, rest.replace(/\/$/, ""), protocol)],
];

/** Reads a listen address. Throws {@link SupervisorError} `address_invalid`, with what was expected. */
export function parseAddress(text: string): ListenAddress {
  for (const [prefix, parse] of FORMS) {
    const match = prefix.exec(text);
    if (match !== null) return parse(text, text.slice(match[0].length), match[1] === "link" ? "link" : "http");
  }
  if (/^[a-z][a-z0-9+.-]*:\/\//i.test(text)) throw invalid(text, "the scheme is not known");
  return parseTcp(text, text, "http");
}

/** The address in the form that {@link parseAddress} reads and clients use: `http://127.0.0.1:80`, `link+unix:/run/app.sock`. */
export function formatAddress(address: ListenAddress): string {
  const prefix = address.protocol === "link" ? "link+" : "";
  if (address.kind === "unix") return `${prefix}unix:${address.path}`;
  if (address.kind === "fd") return `${prefix}fd://${address.fd}`;
  if (address.kind === "systemd") return `${prefix}systemd:${address.name ?? ""}`;
  const host = address.host.includes(":") ? `[${address.host}]` : address.host || "*";
  return `${address.protocol}://${host}:${address.port}`;
}
