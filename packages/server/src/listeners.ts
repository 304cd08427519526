/** The master's listening sockets: bound from the configuration, changed by a reload, closed at the end. */
import { createServer } from "node:net";
import type { Server, Socket } from "node:net";
import { BoundListener, formatAddress, predecessor, SupervisorError } from "@portico/supervisor";
import type { NamedListener } from "@portico/supervisor";
import { type BindRequest, readBind } from "./bind.ts";
import { PorticoServerError } from "./error.ts";
import { listenError } from "./listen-error.ts";
import { socketOwner } from "./privileges.ts";
import type { ResolvedConfig } from "./settings.ts";

/** One setting of `bind` with what was bound for it. */
interface Binding {
  /** As written; a reload keeps what is written the same. */
  readonly key: string;
  /** As it was asked for, in one form: how a successor finds it again. */
  readonly name: string;
  readonly proxyProtocol: boolean;
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
   * @throws PorticoServerError `address`, `bind`, `identity`; what was bound for this call is closed again then
   */
  async prepare(config: ResolvedConfig): Promise<PreparedListeners> {
    const requests = config.bind.map((text) => readBind(text, config, this.#cwd));
    const fresh: Binding[] = [];
    const bindings: Binding[] = [];
    try {
      for (const request of requests) {
        const key = JSON.stringify(request);
        let binding = this.#bindings.find((candidate) => candidate.key === key);
        if (binding === undefined) {
          const name = formatAddress(request.address);
          const listeners = inherited(name) ?? (await bindAll(request, config.reusePort));
          binding = { key, name, proxyProtocol: request.proxyProtocol, listeners };
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
      proxied: bindings
        .filter(({ proxyProtocol }) => proxyProtocol)
        .flatMap(({ listeners }) => listeners.map(({ url }) => url)),
      commit: () => this.#commit(bindings),
      abandon: () => closeAll(fresh),
    };
  }

  /** For a successor. */
  get named(): readonly NamedListener[] {
    return this.#bindings.flatMap(({ name, listeners }) => listeners.map((listener) => ({ key: name, listener })));
  }

  /** Stops accepting links and closes every socket; unix paths are removed, unless another master has them too. */
  async close(keepPath?: true): Promise<void> {
    const bindings = this.#bindings;
    this.#bindings = [];
    await this.#closeBindings(bindings, keepPath);
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
    await listener.serve(server).catch((error: Error) => {
      throw listenError(error, listener.url);
    });
    this.#servers.set(listener, server);
  }

  async #closeBindings(bindings: readonly Binding[], keepPath?: true): Promise<void> {
    for (const { listeners } of bindings)
      for (const listener of listeners) {
        await listener.close(keepPath && { keepPath });
        this.#servers.get(listener)?.close();
        this.#servers.delete(listener);
      }
  }
}

/** What the predecessor was asked to listen on by the same name, it hands over. */
function inherited(name: string): readonly BoundListener[] | undefined {
  const before = predecessor();
  const sockets = before?.take(name);
  return before === undefined || sockets === undefined || sockets.length === 0
    ? undefined
    : sockets.map((socket) => BoundListener.inherit(socket, before));
}

/** Sockets that are bound and wait for a decision. */
export interface PreparedListeners {
  readonly inherited: readonly BoundListener[];
  /** URLs of those whose connections begin with a PROXY protocol header. */
  readonly proxied: readonly string[];
  commit(): Promise<void>;
  abandon(): Promise<void>;
}

/** Reads every address of `bind`, and refuses a link over TCP without a secret. Binds nothing. */
export function checkAddresses(config: ResolvedConfig, cwd: string): void {
  for (const text of config.bind) readBind(text, config, cwd);
}

async function bindAll(request: BindRequest, reusePort: boolean): Promise<BoundListener[]> {
  const { address, mode, backlog } = request;
  const owner = address.kind === "unix" ? await socketOwner(request.owner) : undefined;
  return await BoundListener.bindAll(address, { mode, backlog, reusePort, ...(owner && { owner }) });
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
