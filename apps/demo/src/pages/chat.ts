import { html } from "hono/html";
import type { Account } from "../accounts.ts";
import { layout, type Markup } from "./layout.ts";

export function chatPage(account: Account | undefined): Markup {
  const content = html`<section class="card chat" data-account="${account?.name ?? ""}">
    <h1>Chat</h1>
    <p class="live" role="status"><span class="dot"></span> <span id="state">connecting…</span></p>
    <ol id="messages" aria-live="polite"></ol>
    ${
      account === undefined
        ? html`<p class="hint"><a href="/login">Log in</a> to say something.</p>`
        : html`<form id="say">
            <input name="text" maxlength="1000" autocomplete="off" placeholder="Say something" required />
            <button>Send</button>
          </form>`
    }
  </section>`;
  return layout({ title: "Chat", path: "/chat", account, script: "chat.js", content });
}
