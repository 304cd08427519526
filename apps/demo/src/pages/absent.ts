import { html } from "hono/html";
import type { Account } from "../accounts.ts";
import { layout, type Markup } from "./layout.ts";

export function absentPage(account: Account | undefined): Markup {
  const content = html`<section class="card narrow">
    <h1>Nothing here</h1>
    <p>There is no page of this name. <a href="/">Back to the board.</a></p>
  </section>`;
  return layout({ title: "Nothing here", path: "", account, content });
}
