/**
 * In a worker: requests of a session go to the worker that opened it, whichever accepted them.
 *
 * A worker that gets a request of a session it does not know asks the master whose it is, and hands it over on a link
 * between the two, made when it is first needed. So a polling client needs no sticky front, and no cookie.
 */
import type { Socket } from "node:net";
import type { Logger } from "@portico/gateway";
import type { AbortReason, Exchange, ExchangeHandler, ExchangeObserver } from "@portico/gateway/exchange";
import type { ClientSession } from "@portico/link";
import { connectLink } from "@portico/link/socket";
import type { FromWorker } from "../messages.ts";
import { isEngineIo, sessionOf, watchHandshake } from "./engine-io.ts";
import { forwardExchange } from "./forward.ts";
import { firstBytes, socketPair } from "./pair.ts";

/** Sessions whose owner is remembered here, and as many of our own; the oldest is forgotten first. */
const MOST_REMEMBERED = 10_000;

export interface SessionSurroundings {
  /** Number of this process in its group. */
  readonly self: number;
  tell(message: FromWorker, handle?: Socket): void;
  readonly log: Logger;
}

export class Sessions {
  readonly #local: ExchangeHandler;
  readonly #around: SessionSurroundings;
  readonly #owners = new Map<string, number>();
  /** Questions to the master under way. */
  readonly #asked = new Map<string, ((owner: number | undefined) => void)[]>();
  readonly #links = new Map<number, Promise<ClientSession>>();

  constructor(local: ExchangeHandler, around: SessionSurroundings) {
    this.#local = local;
    this.#around = around;
  }

  /** Hot path for whatever is not Engine.IO: one search in the target. */
  readonly handler: ExchangeHandler = (exchange) => {
    const { target } = exchange.head;
    if (!isEngineIo(target)) return this.#local(exchange);
    const key = sessionOf(target);
    if (key === undefined) {
      watchHandshake(exchange, this.#opened);
      return this.#local(exchange);
    }
    const owner = this.#owners.get(key);
    if (owner === this.#around.self) return this.#local(exchange);
    exchange.observer = new Held();
    if (owner !== undefined) void this.#send(exchange, owner);
    else this.#ask(key, (found) => void this.#send(exchange, found ?? this.#around.self));
  };

  /** The master has answered. */
  found(key: string, owner: number | undefined): void {
    if (owner !== undefined) this.#remember(key, owner);
    const waiting = this.#asked.get(key) ?? [];
    this.#asked.delete(key);
    for (const tell of waiting) tell(owner);
  }

  /** Lets go of the links to siblings; requests under way on them end first. */
  close(): void {
    for (const link of this.#links.values()) link.then((session) => session.drain(), ignore);
  }

  readonly #opened = (key: string): void => {
    this.#remember(key, this.#around.self);
    this.#around.tell({ kind: "session-opened", key });
  };

  #remember(key: string, owner: number): void {
    if (this.#owners.size >= MOST_REMEMBERED) {
      const [oldest] = this.#owners.keys();
      if (oldest !== undefined) this.#owners.delete(oldest);
    }
    this.#owners.set(key, owner);
  }

  #ask(key: string, tell: (owner: number | undefined) => void): void {
    const waiting = this.#asked.get(key);
    if (waiting !== undefined) {
      waiting.push(tell);
      return;
    }
    this.#asked.set(key, [tell]);
    this.#around.tell({ kind: "find-session", key });
  }

  /** Where the owner cannot be reached, the application here says that it does not know the session, and the client opens another. */
  async #send(exchange: Exchange, owner: number): Promise<void> {
    try {
      if (owner !== this.#around.self) {
        const session = await this.#linkTo(owner);
        if (!exchange.ended) forwardExchange(exchange, session);
        return;
      }
    } catch (error) {
      this.#around.log.warn({ err: error, owner }, "a request could not be handed over to the worker of its session");
    }
    if (exchange.ended) return;
    exchange.observer = undefined;
    this.#local(exchange);
  }

  #linkTo(owner: number): Promise<ClientSession> {
    const known = this.#links.get(owner);
    if (known !== undefined) return known;
    const link = this.#dial(owner);
    this.#links.set(owner, link);
    link.catch(() => this.#links.delete(owner));
    return link;
  }

  async #dial(owner: number): Promise<ClientSession> {
    const [near, far] = await socketPair();
    const arrived = firstBytes(near);
    this.#around.tell({ kind: "introduce", to: owner }, far);
    await arrived;
    const ready = Promise.withResolvers<ClientSession>();
    const session = connectLink(near, {
      onReady: () => ready.resolve(session),
      onDrain: () => this.#links.delete(owner),
      onClosed: (error) => {
        this.#links.delete(owner);
        ready.reject(error ?? new TypeError("the sibling closed the link"));
      },
    });
    return await ready.promise;
  }
}

/** Stands in until it is known who answers. The body is paused, so nothing but the end can come. */
class Held implements ExchangeObserver {
  onData(): void {}
  onEnd(): void {}
  onDrain(): void {}
  onFinish(): void {}
  onAbort(_reason: AbortReason): void {}
}

function ignore(): void {}
