/**
 * Keeps a client on the server that answered it first, by a cookie.
 *
 * The cookie holds an id that is made from the server's address (and a secret, where there is one), so that every
 * thread, every proxy and every restart gives the same. It says nothing but which of our servers: a client that
 * invents one is treated as new.
 */
import { createHash, createHmac } from "node:crypto";
import type { HeaderList } from "@portico/gateway/exchange";
import type { StickySettings } from "../config/schema.ts";
import { type BalancedExchange, isOpen } from "./balance.ts";
import { cookieOf } from "./key.ts";
import type { Member } from "./member.ts";

/** Characters of an id: 96 bits, base64url. */
const ID_LENGTH = 16;

const SAME_SITE = { lax: "Lax", strict: "Strict", none: "None" } as const;

export class Sticky {
  readonly #upstream: string;
  readonly #settings: StickySettings;
  readonly #ids = new WeakMap<Member, string>();

  constructor(upstream: string, settings: StickySettings) {
    this.#upstream = upstream;
    this.#settings = settings;
  }

  /** The client's server, where it has one that takes requests now. */
  find(members: readonly Member[], avoid: readonly Member[] | null, exchange: BalancedExchange): Member | null {
    const id = cookieOf(exchange.head.headers, this.#settings.cookie);
    if (id === undefined || id.length !== ID_LENGTH) return null;
    for (const member of members) {
      if (this.#idOf(member) === id) return isOpen(member, avoid) ? member : null;
    }
    return null;
  }

  /** The fields of a response, with the cookie where the client does not have it. */
  mark(fields: HeaderList, member: Member, exchange: BalancedExchange): HeaderList {
    const id = this.#idOf(member);
    const { cookie, maxAge, path, sameSite } = this.#settings;
    if (cookieOf(exchange.head.headers, cookie) === id) return fields;
    const secure = exchange.head.scheme === "https" || sameSite === "none" ? "; Secure" : "";
    const age = maxAge === 0 ? "" : `; Max-Age=${Math.ceil(maxAge / 1000)}`;
    const text = `${cookie}=${id}; Path=${path}${age}; HttpOnly; SameSite=${SAME_SITE[sameSite]}${secure}`;
    return [...fields, "Set-Cookie", text];
  }

  #idOf(member: Member): string {
    let id = this.#ids.get(member);
    if (id === undefined) {
      const { secret } = this.#settings;
      const hash = secret === undefined ? createHash("sha256") : createHmac("sha256", secret);
      id = hash.update(`${this.#upstream}\n${member.address}`).digest("base64url").slice(0, ID_LENGTH);
      this.#ids.set(member, id);
    }
    return id;
  }
}
