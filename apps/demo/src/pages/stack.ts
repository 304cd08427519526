import { html } from "hono/html";
import type { Account } from "../accounts.ts";
import type { StackFacts } from "../stack.ts";
import { layout, type Markup } from "./layout.ts";

/** Which processes, connections and times stood behind the response that carries this page. */
export function stackPage(account: Account | undefined, facts: StackFacts): Markup {
  const content = html`<h1>What served this page</h1>
    <p class="path">
      ${facts.way.map((step, index) => html`${index === 0 ? "" : html`<span class="arrow" aria-hidden="true">→</span>`}<span class="step"><b>${step.name}</b><br />${step.detail}</span>`)}
    </p>
    ${facts.groups.map(
      (group) =>
        html`<section class="card">
          <h2>${group.title}</h2>
          <dl>
            ${group.rows.map(
              ([key, value]) =>
                html`<dt>${key}</dt>
                  <dd>${value}</dd>`,
            )}
          </dl>
        </section>`,
    )}
    <p class="hint">
      The same as JSON: <a href="/stack.json">/stack.json</a>. Reload the page and watch the worker change.
    </p>`;
  return layout({ title: "Stack", path: "/stack", account, content });
}
