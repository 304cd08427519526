/** In the master: the one that is to take its place, and the one whose place it took. */
import type { Socket } from "node:net";
import type { Logger } from "@portico/gateway";
import { predecessor, Successor, SupervisorError } from "@portico/supervisor";
import type { NamedListener, Predecessor } from "@portico/supervisor";
import { PorticoServerError } from "./error.ts";
import type { ToWorker } from "./messages.ts";

type LinkMessage = Extract<ToWorker, { kind: "link" }>;

/** A master that serves beside this one. */
export interface NewMaster {
  readonly pid: number;
  /** Resolves when it begins to stop, or is gone; never rejects. */
  readonly leaving: Promise<void>;
}

/** What an upgrade needs of its master. */
export interface UpgradeSurroundings {
  readonly log: Logger;
  readonly listeners: () => readonly NamedListener[];
  /** Called before the new master is started; what it throws keeps it from being started. */
  readonly before: () => Promise<void>;
  /** The new master leaves: this one is alone again, and must serve. */
  readonly onRolledBack: () => void;
  /** A connection of the link that the old master has accepted and cannot serve. */
  readonly onLink: (socket: Socket, message: LinkMessage) => void;
}

export class Upgrade {
  readonly #around: UpgradeSurroundings;
  readonly #before: Predecessor | undefined = predecessor();
  #successor: Successor | undefined;

  constructor(around: UpgradeSurroundings) {
    this.#around = around;
  }

  /** A new master runs, on the same sockets: their paths are its as well. */
  get heir(): boolean {
    return this.#successor?.alive === true;
  }

  /** This is not the only master of these sockets. */
  get shared(): boolean {
    return this.heir || this.#before?.alive === true;
  }

  /** This master serves: whoever started it is told. */
  served(): void {
    if (this.#before === undefined) return;
    const { log, onLink } = this.#around;
    const { pid } = this.#before;
    this.#before.served((message, socket) => onLink(socket, message as LinkMessage));
    log.info(
      { old: pid },
      `this master serves beside its predecessor (pid ${pid}): end that one to confirm, this one to go back`,
    );
    void this.#before.gone.then(() =>
      log.info({ old: pid }, `the predecessor (pid ${pid}) is gone: this is the master now`),
    );
  }

  /** This master stops: the one before, if it still runs, serves alone. */
  leaving(): void {
    if (this.#before?.alive === true) this.#before.leaving();
  }

  /** @throws PorticoServerError `upgrade`; nothing has changed then */
  async start(): Promise<NewMaster> {
    const { log } = this.#around;
    if (this.heir)
      throw new PorticoServerError(
        "upgrade",
        `an upgrade is under way: the new master is process ${this.#successor!.pid}`,
      );
    if (this.#before?.alive === true)
      throw new PorticoServerError(
        "upgrade",
        `this master is an upgrade itself: first end the old one, process ${this.#before.pid}`,
      );
    await this.#around.before();
    try {
      const successor = new Successor(this.#around.listeners());
      this.#successor = successor;
      log.info({ new: successor.pid }, `upgrade: a new master starts (pid ${successor.pid})`);
      await successor.ready;
      log.info(
        { new: successor.pid },
        `upgrade: the new master (pid ${successor.pid}) serves beside this one (pid ${process.pid}): TERM to this one confirms it, TERM to it goes back`,
      );
      void successor.leaving.then(() => this.#around.onRolledBack());
      void successor.gone.then((how) =>
        log.warn({ new: successor.pid }, `the new master (pid ${successor.pid}) is gone (${how}): this one goes on`),
      );
      return successor;
    } catch (error) {
      if (!(error instanceof SupervisorError)) throw error;
      throw new PorticoServerError("upgrade", `upgrade failed, this master goes on: ${error.message}`, {
        cause: error,
      });
    }
  }

  /** Gives a connection that nobody here can serve to the new master. False: there is none. */
  pass(socket: Socket, message: LinkMessage): boolean {
    return this.#successor?.pass(socket, message) === true;
  }
}
