/** What handlers use: made once per worker at startup, handed to Hono as variables. */
import type { Context as TsgiContext } from "@portico/gateway";
import type { Account, Accounts } from "./accounts.ts";
import type { Chat } from "./chat.ts";
import type { Events } from "./events.ts";
import type { Images } from "./images.ts";
import type { Notices } from "./notices.ts";

export interface Board {
  readonly accounts: Accounts;
  readonly notices: Notices;
  readonly images: Images;
  readonly events: Events;
  readonly chat: Chat;
  close(): void;
}

/** Hono's types: TSGI's context arrives as Hono's environment. */
export interface Setting {
  Bindings: TsgiContext;
  Variables: { board: Board; account: Account | undefined };
}
