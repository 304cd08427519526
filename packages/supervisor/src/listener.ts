/** Listening sockets that a master owns: bound once, inherited by every child, closed when the master says so. */
import { once } from "node:events";
import { access, chmod, chown, link, lstat, readFile, unlink } from "node:fs/promises";
import { lookup } from "node:dns/promises";
import net from "node:net";
import { dirname, resolve } from "node:path";
import { formatAddress, parseAddress } from "./address.ts";
import type { DescriptorAddress, ListenAddress, SystemdAddress, TcpAddress, UnixAddress } from "./address.ts";
import { adoptHandle, bindHandle } from "./bound-handle.ts";
import type { BoundHandle } from "./bound-handle.ts";
import { SupervisorError } from "./errors.ts";
import type { HandedSocket } from "./handover.ts";
import type { Predecessor } from "./predecessor.ts";
import { systemdDescriptors } from "./systemd.ts";

export interface BindOptions {
  /** Connections that may wait in the kernel; given to whoever listens. Linux caps it at net.core.somaxconn. */
  readonly backlog?: number;
  /** Permissions of a unix socket. Default 0660. */
  readonly mode?: number;
  /** Owner of a unix socket. Default: this process's. */
  readonly owner?: { readonly uid: number; readonly gid: number };
  /** `SO_REUSEPORT`: several masters on one port. Default false. */
  readonly reusePort?: boolean;
  /** Milliseconds to go on trying while the address is in use, for the children of a killed master to leave it. Default 0. */
  readonly waitMs?: number;
}

/** nginx and libuv use 511, gunicorn 2048; the kernel's default cap is 4096 since Linux 5.4. */
export const DEFAULT_BACKLOG = 2_048;
const DEFAULT_UNIX_MODE = 0o660;
const PROBE_TIMEOUT_MS = 1_000; // a live socket on the same machine accepts at once, or its backlog is full
const RETRY_MS = 50;

let bindings = 0;

export class BoundListener {
  readonly fd: number;
  /** As bound: the real port, the absolute path. */
  readonly address: ListenAddress;
  /** For clients and logs: `http://127.0.0.1:8080`, `link+unix:/run/app.sock`. */
  readonly url: string;
  readonly backlog: number;
  /** Of a unix socket's path. */
  readonly inode: number | undefined;
  readonly #handle: BoundHandle;
  /** Another master has the socket too, and its path. */
  #shared: () => boolean = () => false;
  #closed = false;

  private constructor(handle: BoundHandle, address: ListenAddress, backlog: number, inode?: number) {
    this.#handle = handle;
    this.inode = inode;
    this.fd = handle.fd;
    this.address = address;
    this.url = formatAddress(address);
    this.backlog = backlog;
  }

  /** Binds one address. Throws {@link SupervisorError} with a message for people: `address_in_use`, `address_forbidden`, `address_unavailable`, `host_unknown`, `descriptor_invalid`. */
  static async bind(address: ListenAddress | string, options: BindOptions = {}): Promise<BoundListener> {
    const [listener, ...rest] = await BoundListener.bindAll(address, options);
    await Promise.all(rest.map((other) => other.close()));
    if (listener === undefined || rest.length > 0) {
      throw new SupervisorError(
        "descriptor_invalid",
        "systemd passed several sockets: name one (systemd:NAME) or take all with bindAll",
      );
    }
    return listener;
  }

  /** As `bind`; `systemd:` may give several sockets. */
  static async bindAll(address: ListenAddress | string, options: BindOptions = {}): Promise<BoundListener[]> {
    const parsed = typeof address === "string" ? parseAddress(address) : address;
    const backlog = options.backlog ?? DEFAULT_BACKLOG;
    const deadline = performance.now() + (options.waitMs ?? 0);
    for (;;) {
      try {
        switch (parsed.kind) {
          case "tcp":
            return [await bindTcp(parsed, backlog, options.reusePort ?? false)];
          case "unix":
            return [await bindUnix(parsed, backlog, options)];
          case "fd":
            return [adopt(parsed, backlog)];
          case "systemd":
            return systemdDescriptors(parsed.name).map((fd) => adopt({ ...parsed, kind: "fd", fd }, backlog, parsed));
        }
      } catch (error) {
        const inUse = error instanceof SupervisorError && error.code === "address_in_use";
        if (!inUse || performance.now() >= deadline) throw error;
      }
      await new Promise((wake) => setTimeout(wake, RETRY_MS));
    }
  }

  /** Takes a socket that a predecessor has handed over; its path stays while the predecessor runs. Throws {@link SupervisorError} `descriptor_invalid`. */
  static inherit({ fd, address, backlog, inode }: HandedSocket, before: Predecessor): BoundListener {
    try {
      const listener = new BoundListener(adoptHandle(fd), address, backlog, inode);
      listener.#shared = () => before.alive;
      return listener;
    } catch (error) {
      throw new SupervisorError("descriptor_invalid", `${formatAddress(address)}: descriptor ${fd} is no socket`, {
        cause: error,
      });
    }
  }

  /** Wraps a bound handle. Private to this module. */
  static from(handle: BoundHandle, address: ListenAddress, backlog: number, inode?: number): BoundListener {
    return new BoundListener(handle, address, backlog, inode);
  }

  /** Accepts in this process (the link's connections, in the server's master). Closing the server closes the socket; children may no longer be started on it then. */
  async serve(server: net.Server): Promise<void> {
    if (this.#closed) throw new SupervisorError("listener_closed", `${this.url} was closed`);
    this.#handle.serve(server, this.backlog);
    if (!server.listening) await once(server, "listening");
  }

  /** For {@link ChildHandle.pass}. */
  sendable(): object {
    if (this.#closed) throw new SupervisorError("listener_closed", `${this.url} was closed`);
    return this.#handle.sendable();
  }

  /** Changes who may connect to a unix socket, if its path still is this one. */
  async permit(options: Pick<BindOptions, "mode" | "owner">): Promise<void> {
    if (this.inode === undefined || this.address.kind !== "unix") return;
    const { path } = this.address;
    if ((await lstat(path).catch(() => undefined))?.ino !== this.inode) return;
    try {
      await chmod(path, options.mode ?? DEFAULT_UNIX_MODE);
      if (options.owner !== undefined) await chown(path, options.owner.uid, options.owner.gid);
    } catch (error) {
      throw explain(error, this.address);
    }
  }

  /** Closes the socket here (children keep theirs) and removes the path of a unix socket, if it still is this one. `keepPath`: a successor has the socket. */
  async close(options: { keepPath?: boolean } = {}): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    if (this.inode !== undefined && this.address.kind === "unix" && !(options.keepPath ?? this.#shared())) {
      await unlinkIf(this.address.path, this.inode);
    }
    this.#handle.close();
  }
}

/** What each system error means to the person who chose the address. */
function explain(error: unknown, address: ListenAddress): SupervisorError {
  if (error instanceof SupervisorError) return error;
  const url = formatAddress(address);
  const code = (error as NodeJS.ErrnoException).code ?? "";
  const fail = (kind: ConstructorParameters<typeof SupervisorError>[0], text: string): SupervisorError =>
    new SupervisorError(kind, text, { cause: error });
  switch (code) {
    case "EADDRINUSE":
      return fail("address_in_use", `cannot listen on ${url}: another process already listens there`);
    case "EACCES":
    case "EPERM":
      return fail(
        "address_forbidden",
        address.kind === "tcp" && address.port < 1024
          ? `cannot listen on ${url}: ports below 1024 need root or CAP_NET_BIND_SERVICE`
          : `cannot listen on ${url}: permission denied`,
      );
    case "EADDRNOTAVAIL":
      return fail("address_unavailable", `cannot listen on ${url}: no interface of this machine has that address`);
    case "EAFNOSUPPORT":
      return fail(
        "address_unavailable",
        `cannot listen on ${url}: this machine has no such address family (is IPv6 off?)`,
      );
    case "ENOENT":
    case "ENOTDIR":
      return fail("address_unavailable", `cannot listen on ${url}: its directory does not exist`);
    case "EROFS":
      return fail("address_unavailable", `cannot listen on ${url}: the file system is read-only`);
    default:
      return fail("address_unavailable", `cannot listen on ${url}: ${(error as Error).message}`);
  }
}

async function numericHost(address: TcpAddress): Promise<string> {
  if (net.isIP(address.host) !== 0) return address.host;
  try {
    return (await lookup(address.host, { verbatim: false })).address;
  } catch (error) {
    throw new SupervisorError(
      "host_unknown",
      `cannot listen on ${formatAddress(address)}: the host name "${address.host}" does not resolve`,
      {
        cause: error,
      },
    );
  }
}

async function bindTcp(address: TcpAddress, backlog: number, reusePort: boolean): Promise<BoundListener> {
  const { port } = address;
  const bind = (host: string): BoundHandle => bindHandle({ host, port, ipv6Only: false, reusePort });
  try {
    const handle = address.host === "" ? bindEverywhere(bind) : bind(await numericHost(address));
    return BoundListener.from(handle, { ...address, port: handle.address?.port ?? port }, backlog);
  } catch (error) {
    throw explain(error, address);
  }
}

/** Both families on one socket where the machine has IPv6. */
function bindEverywhere(bind: (host: string) => BoundHandle): BoundHandle {
  try {
    return bind("::");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EAFNOSUPPORT" && code !== "EADDRNOTAVAIL" && code !== "EINVAL") throw error;
    return bind("0.0.0.0");
  }
}

/**
 * A unix socket appears at its path whole: bound under a name beside it, given its mode and owner there, then linked
 * into place, which fails where something already is. So nobody can connect before the permissions are right, two
 * masters that start at once cannot both win, and libuv, which unlinks the name a socket was bound to when it is closed,
 * never touches the real one.
 */
async function bindUnix(address: UnixAddress, backlog: number, options: BindOptions): Promise<BoundListener> {
  const path = resolve(address.path);
  const bound: UnixAddress = { ...address, path };
  const beside = `${path}~${process.pid.toString(36)}${(bindings++ % 36).toString(36)}`;
  let handle: BoundHandle | undefined;
  try {
    handle = bindHandle({ path: beside });
    await chmod(beside, options.mode ?? DEFAULT_UNIX_MODE);
    if (options.owner !== undefined) await chown(beside, options.owner.uid, options.owner.gid);
    const { ino } = await lstat(beside);
    await linkInPlace(beside, bound);
    await unlink(beside);
    return BoundListener.from(handle, bound, backlog, ino);
  } catch (error) {
    await unlink(beside).catch(() => {});
    handle?.close();
    // libuv says EACCES for a folder that is not there
    await access(dirname(path)).catch((missing: unknown) => {
      throw explain(missing, bound); // libuv says EACCES for a folder that is not there
    });
    throw explain(error, bound);
  }
}

async function linkInPlace(beside: string, address: UnixAddress): Promise<void> {
  try {
    await link(beside, address.path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
    await removeStale(address, beside);
    await link(beside, address.path).catch((again: NodeJS.ErrnoException) => {
      throw again.code === "EEXIST" ? inUse(address, again) : again;
    });
  }
}

/** Removes a socket that nobody listens on. A live one, or a file that is no socket, is an error and stays. */
async function removeStale(address: UnixAddress, own: string): Promise<void> {
  const { path } = address;
  const found = await lstat(path).catch(() => undefined);
  if (found === undefined) return; // gone meanwhile
  if (!found.isSocket()) {
    throw new SupervisorError(
      "address_unavailable",
      `cannot listen on ${formatAddress(address)}: the path exists and is not a socket`,
    );
  }
  if ((await isHeld(path, own)) || (await isLive(path))) throw inUse(address);
  await unlinkIf(path, found.ino);
}

function inUse(address: ListenAddress, cause?: unknown): SupervisorError {
  return new SupervisorError(
    "address_in_use",
    `cannot listen on ${formatAddress(address)}: address in use by a running process`,
    { cause },
  );
}

/** Has somebody a socket of that name that may not listen yet: a master whose children still load? Linux can tell. */
async function isHeld(path: string, own: string): Promise<boolean> {
  const table = await readFile("/proc/net/unix", "utf8").catch(() => "");
  return table.split("\n").some((line) => {
    const at = line.indexOf("/");
    const name = at < 0 ? "" : line.slice(at);
    return name === path || (name !== own && name.startsWith(`${path}~`) && !name.includes("/", path.length));
  });
}

/** Does somebody listen there? Only a refused connection says no. */
function isLive(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect({ path });
    const answer = (live: boolean): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(live);
    };
    const timer = setTimeout(answer, PROBE_TIMEOUT_MS, true);
    socket.once("connect", () => answer(true));
    socket.once("error", (error: NodeJS.ErrnoException) =>
      answer(error.code !== "ECONNREFUSED" && error.code !== "ENOENT"),
    );
  });
}

async function unlinkIf(path: string, inode: number): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.ino === inode) await unlink(path).catch(() => {});
}

/** Takes an inherited descriptor. `shown` is what it was asked for as. */
function adopt(
  address: DescriptorAddress,
  backlog: number,
  shown: DescriptorAddress | SystemdAddress = address,
): BoundListener {
  try {
    const handle = adoptHandle(address.fd);
    const tcp: TcpAddress | undefined = handle.address && {
      protocol: address.protocol,
      kind: "tcp",
      host: handle.address.address,
      port: handle.address.port,
    };
    return BoundListener.from(handle, tcp ?? address, backlog);
  } catch (error) {
    throw new SupervisorError(
      "descriptor_invalid",
      `cannot listen on ${formatAddress(shown)}: descriptor ${address.fd} is not a socket that was passed to this process`,
      { cause: error },
    );
  }
}
