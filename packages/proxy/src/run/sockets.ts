/** The listening sockets of a master: which ones a configuration wants, and what it takes to have them. */
import { BoundListener, type ListenAddress, findIdentity } from "@portico/supervisor";
import type { ListenSettings } from "../config/schema.ts";
import { PorticoProxyError } from "../errors.ts";
import type { SocketOrder } from "./messages.ts";

// The children of a master that was killed leave its addresses within a moment.
const ADDRESS_WAIT_MS = 1000;

export type Listeners = ReadonlyMap<string, BoundListener>;

/** The sockets of a configuration, by key. */
export interface Sockets {
  readonly listeners: Listeners;
  readonly orders: readonly SocketOrder[];
  /** Of `listeners`, those that were bound just now. */
  readonly fresh: readonly BoundListener[];
}

function addressOf(listen: ListenSettings): ListenAddress {
  if (listen.unix !== undefined) return { protocol: "http", kind: "unix", path: listen.unix };
  if (listen.systemd !== undefined)
    return { protocol: "http", kind: "systemd", name: listen.systemd === "" ? undefined : listen.systemd };
  return { protocol: "http", kind: "tcp", host: listen.host ?? "", port: listen.port! };
}

/** What makes two settings the same socket: its address. Mode, owner and backlog are changed in place. */
const keyOf = (listen: ListenSettings): string =>
  JSON.stringify([listen.unix ?? null, listen.host ?? null, listen.port ?? null, listen.systemd ?? null]);

type Access = Parameters<BoundListener["permit"]>[0];

async function accessOf({ mode, owner }: ListenSettings): Promise<Access> {
  const [user, group] = owner?.split(":") ?? [];
  return {
    ...(mode === undefined ? {} : { mode: Number.parseInt(mode, 8) }),
    ...(user === undefined ? {} : { owner: await findIdentity(user, group) }),
  };
}

function failed(cause: unknown): PorticoProxyError {
  return new PorticoProxyError("listen-failed", cause instanceof Error ? cause.message : String(cause), { cause });
}

async function bindOne(listen: ListenSettings): Promise<BoundListener[]> {
  try {
    const options = { backlog: listen.backlog, waitMs: ADDRESS_WAIT_MS, ...(await accessOf(listen)) };
    return await BoundListener.bindAll(addressOf(listen), options);
  } catch (cause) {
    throw failed(cause);
  }
}

/**
 * Binds what is not bound yet.
 *
 * @throws PorticoProxyError `listen-failed`; what was bound is closed then
 */
export async function bindSockets(wanted: readonly ListenSettings[], bound: Listeners): Promise<Sockets> {
  const listeners = new Map<string, BoundListener>();
  const fresh: BoundListener[] = [];
  const orders: SocketOrder[] = [];
  const take = (key: string, listener: BoundListener, index: number): void => {
    listeners.set(key, listener);
    orders.push({ key, index, url: clientUrl(listener), backlog: wanted[index]!.backlog });
  };
  try {
    for (const [index, listen] of wanted.entries()) {
      let key = keyOf(listen);
      // Port 0 twice is two sockets.
      while (listeners.has(key)) key += "+";
      // systemd's are several under one setting: KEY, KEY#1, KEY#2.
      const known = [...bound].filter(([name]) => name === key || name.startsWith(`${key}#`));
      if (known.length > 0) for (const [name, listener] of known) take(name, listener, index);
      else {
        const made = await bindOne(listen);
        fresh.push(...made);
        for (const [place, listener] of made.entries()) take(place === 0 ? key : `${key}#${place}`, listener, index);
      }
    }
    return { listeners, orders, fresh };
  } catch (error) {
    await Promise.all(fresh.map((listener) => listener.close()));
    throw error;
  }
}

/** Puts mode and owner of unix sockets that stay in force. */
export async function permitAll(
  orders: readonly SocketOrder[],
  listeners: Listeners,
  wanted: readonly ListenSettings[],
): Promise<void> {
  for (const { key, index } of orders) {
    const listen = wanted[index]!;
    if (listen.unix !== undefined)
      await listeners
        .get(key)!
        .permit(await accessOf(listen))
        .catch((cause: unknown) => {
          throw failed(cause);
        });
  }
}

/** Listeners of the first that the second has not. */
export function missingFrom(listeners: Listeners, others: Listeners): BoundListener[] {
  return Array.from(listeners).flatMap(([key, listener]) => (others.has(key) ? [] : [listener]));
}

/** Where a client on this machine reaches a listener. */
export function clientUrl(listener: BoundListener): string {
  const { address } = listener;
  const anywhere = address.kind === "tcp" && ["", "::", "0.0.0.0"].includes(address.host);
  return anywhere ? `http://localhost:${address.port}` : listener.url;
}
