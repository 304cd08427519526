/** The master's listening sockets: bound from the configuration, changed by a reload, closed at the end. */
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { resolve } from "node:path";
import { BoundListener, parseAddress, SupervisorError } from "@portico/supervisor";
import type { ListenAddress } from "@portico/supervisor";
import { PorticoServerError } from "./error.ts";
import type { ResolvedConfig } from "./settings.ts";
import { TLS_IS_THE_FRONTS_JOB } from "./tls.ts";

/** One setting of `bind` with what was bound for it. */
interface Binding {
  /** As written; a reload keeps what is written the same. */
  readonly key: string;
  readonly listeners: readonly BoundListener[];
}

/** A connection of the link was accepted; `unixPath` is undefined where it came over TCP, and must prove that it knows the secret. */
export type OnLink = (socket: Socket, unixPath: string | undefined) => void;

export class Listeners {
  readonly #onLink: OnLink;
  readonly #cwd: string;
  #bindings: readonly Binding[] = [];
  readonly #servers = new Map<BoundListener, Server>();

  constructor(cwd: string, onLink: OnLink) {
    this.#cwd = cwd;
    this.#onLink = onLink;
  }

  /** What workers inherit: those that speak HTTP. */
  get inherited(): readonly BoundListener[] {
    return inheritedOf(this.#bindings);
  }

  get urls(): readonly string[] {
    return this.#bindings.flatMap(({ listeners }) => listeners.map(({ url }) => url));
  }

  /**
   * Binds what `config` names and was not bound yet; nothing is given up. Call `commit` when the workers that inherit
   * it are up, or `abandon`.
   * @throws PorticoServerError `address`, `bind`; what was bound for this call is closed again then
   */
  async prepare(config: ResolvedConfig): Promise<PreparedListeners> {
    const addresses = config.bind.map((text) => ({ text, address: readAddress(text, config, this.#cwd) }));
    const options = { backlog: config.backlog, mode: Number.parseInt(config.socketMode, 8) };
    const fresh: Binding[] = [];
    const bindings: Binding[] = [];
    try {
      for (const { text, address } of addresses) {
        const key = `${text} ${config.socketMode}`;
        let binding = this.#bindings.find((candidate) => candidate.key === key);
        if (binding === undefined) {
          binding = { key, listeners: await BoundListener.bindAll(address, options) };
          fresh.push(binding);
        }
        bindings.push(binding);
      }
    } catch (error) {
      await closeAll(fresh);
      throw asBindError(error);
    }
    return {
      inherited: inheritedOf(bindings),
      commit: () => this.#commit(bindings),
      abandon: () => closeAll(fresh),
    };
  }

  /** Stops accepting links and closes every socket; unix paths are removed. */
  async close(): Promise<void> {
    const bindings = this.#bindings;
    this.#bindings = [];
    await this.#closeBindings(bindings);
  }

  async #commit(bindings: readonly Binding[]): Promise<void> {
    const dropped = this.#bindings.filter((binding) => !bindings.includes(binding));
    const added = bindings.filter((binding) => !this.#bindings.includes(binding));
    this.#bindings = bindings;
    for (const { listeners } of added)
      for (const listener of listeners) if (listener.address.protocol === "link") await this.#serveLink(listener);
    await this.#closeBindings(dropped);
  }

  async #serveLink(listener: BoundListener): Promise<void> {
    const unixPath = listener.address.kind === "unix" ? listener.address.path : undefined;
    // Paused: the first bytes are for the worker that gets the socket.
    const server = createServer({ pauseOnConnect: true, noDelay: true, allowHalfOpen: true }, (socket) =>
      this.#onLink(socket, unixPath),
    );
    await listener.serve(server);
    this.#servers.set(listener, server);
  }

  async #closeBindings(bindings: readonly Binding[]): Promise<void> {
    for (const { listeners } of bindings)
      for (const listener of listeners) {
        await listener.close();
        this.#servers.get(listener)?.close();
        this.#servers.delete(listener);
      }
  }
}

/** Sockets that are bound and wait for a decision. */
export interface PreparedListeners {
  readonly inherited: readonly BoundListener[];
  commit(): Promise<void>;
  abandon(): Promise<void>;
}

/** Reads every address of `bind`, and refuses a link over TCP without a secret. Binds nothing. */
export function checkAddresses(config: ResolvedConfig, cwd: string): void {
  for (const text of config.bind) readAddress(text, config, cwd);
}

function readAddress(text: string, config: ResolvedConfig, cwd: string): ListenAddress {
  if (/^(https|wss?|tls|ssl):/i.test(text))
    throw new PorticoServerError("address", `bind ${text}: ${TLS_IS_THE_FRONTS_JOB}`);
  let address: ListenAddress;
  try {
    address = parseAddress(text);
  } catch (error) {
    throw new PorticoServerError("address", `bind ${text}: ${error instanceof Error ? error.message : String(error)}`, {
      cause: error,
    });
  }
  if (address.protocol === "link" && address.kind !== "unix" && config.linkSecret === undefined)
    throw new PorticoServerError(
      "address",
      `bind ${text}: a link over TCP needs a shared secret: set PORTICO_LINK_SECRET, --link-secret-file, or linkSecret in the configuration`,
    );
  return address.kind === "unix" ? { ...address, path: resolve(cwd, address.path) } : address;
}

function asBindError(error: unknown): PorticoServerError {
  if (error instanceof PorticoServerError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new PorticoServerError(error instanceof SupervisorError ? "bind" : "internal", message, { cause: error });
}

function inheritedOf(bindings: readonly Binding[]): readonly BoundListener[] {
  return bindings.flatMap(({ listeners }) => listeners).filter(({ address }) => address.protocol === "http");
}

async function closeAll(bindings: readonly Binding[]): Promise<void> {
  for (const { listeners } of bindings) for (const listener of listeners) await listener.close();
}
