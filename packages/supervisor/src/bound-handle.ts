/**
 * Bound, not yet listening sockets. `net.BoundSocket` (Node 26.4) is the documented way; before it, the function that
 * `node:cluster` itself uses does the same.
 */
import net from "node:net";
import { fstatSync } from "node:fs";
import { constants } from "node:os";
import { getSystemErrorMap } from "node:util";

/** A bound socket of this process. */
export interface BoundHandle {
  readonly fd: number;
  /** Where a TCP socket is bound; undefined for unix sockets. */
  readonly address: net.AddressInfo | undefined;
  /** Begins to accept in this process: `server` owns the descriptor from here on. */
  serve(server: net.Server, backlog: number): void;
  /**
   * What `subprocess.send` takes to pass the socket on, so that the other process gets a descriptor of its own. A second
   * object on the same descriptor: never close it.
   */
  sendable(): object;
  /** Closes the descriptor, unless a server owns it. */
  close(): void;
}

export interface TcpBinding {
  /** Numeric. */
  readonly host: string;
  readonly port: number;
  readonly ipv6Only: boolean;
  readonly reusePort: boolean;
}

export interface UnixBinding {
  readonly path: string;
}

/** The parts of a libuv handle object that the fallback needs. */
interface RawHandle {
  readonly fd: number;
  close(): void;
  getsockname?(out: object): number;
}

type CreateServerHandle = (
  address: string | null,
  port: number,
  addressType: number,
  fd?: number,
  flags?: number,
) => RawHandle | number;

// libuv's UV_TCP_IPV6ONLY and UV_TCP_REUSEPORT.
const IPV6_ONLY = 1;
const REUSE_PORT = 2;
const SYSTEM_ERRORS = getSystemErrorMap();
const ENOTSOCK = -constants.errno.ENOTSOCK;

function systemError(errno: number): NodeJS.ErrnoException {
  const [code, text] = SYSTEM_ERRORS.get(errno) ?? ["EUNKNOWN", "unknown error"];
  return Object.assign(new TypeError(text), { code, errno });
}

function createRaw(...args: Parameters<CreateServerHandle>): RawHandle {
  const create = (net as unknown as { _createServerHandle: CreateServerHandle })._createServerHandle;
  const handle = create(...args);
  if (typeof handle === "number") throw systemError(handle);
  return handle;
}

function nameOf(handle: RawHandle): net.AddressInfo | undefined {
  const address: Partial<net.AddressInfo> = {};
  const errno = handle.getsockname?.(address) ?? 0; // libuv reports a bind conflict only here
  if (errno !== 0) {
    handle.close();
    throw systemError(errno);
  }
  return address.address === undefined ? undefined : (address as net.AddressInfo);
}

function wrapRaw(handle: RawHandle): BoundHandle {
  const { fd } = handle;
  const address = nameOf(handle);
  let open = true;
  return {
    fd,
    address,
    serve(server, backlog) {
      open = false; // a second handle on the same descriptor, which that one then closes
      server.listen({ fd, backlog });
    },
    sendable: () => handle,
    close() {
      if (open) handle.close();
      open = false;
    },
  };
}

function wrapBound(bound: net.BoundSocket): BoundHandle {
  const name: unknown = bound.address();
  let open = true;
  let courier: RawHandle | undefined;
  return {
    fd: bound.fd(),
    address: typeof name === "string" ? undefined : (name as net.AddressInfo),
    serve(server, backlog) {
      open = false;
      server.listen({ handle: bound, backlog } as unknown as net.ListenOptions);
    },
    sendable: () => (courier ??= createRaw(null, 0, -1, bound.fd())),
    close() {
      if (open) bound.close();
      open = false;
    },
  };
}

/** Binds and throws the system's error (`code` EADDRINUSE and so on) where that fails. */
export function bindHandle(binding: TcpBinding | UnixBinding): BoundHandle {
  if (hasBoundSocket(binding)) return wrapBound(new net.BoundSocket(binding as net.BoundSocketOptions));
  if ("path" in binding) return wrapRaw(createRaw(binding.path, -1, -1));
  const flags = (binding.ipv6Only ? IPV6_ONLY : 0) | (binding.reusePort ? REUSE_PORT : 0);
  return wrapRaw(createRaw(binding.host, binding.port, net.isIPv6(binding.host) ? 6 : 4, undefined, flags));
}

/** Takes a descriptor that this process inherited. Throws the system's error when it is no socket. */
export function adoptHandle(fd: number): BoundHandle {
  if (!fstatSync(fd).isSocket()) throw systemError(ENOTSOCK);
  return wrapRaw(createRaw(null, 0, -1, fd)); // the kind of socket is found out
}

function hasBoundSocket(binding: TcpBinding | UnixBinding): boolean {
  const prototype: object | undefined = (net as Partial<typeof net>).BoundSocket?.prototype;
  return prototype !== undefined && "fd" in prototype && (!("path" in binding) || "isPipe" in prototype);
}
