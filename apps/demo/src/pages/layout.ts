import { html } from "hono/html";
import type { HtmlEscapedString } from "hono/utils/html";
import type { Account } from "../accounts.ts";
import { assetNames } from "../assets.ts";

export type Markup = HtmlEscapedString | Promise<HtmlEscapedString>;

const assets = assetNames();

export const asset = (name: string): string => assets[name] ?? `/assets/${name}`;

const links = [
  { path: "/", label: "Board" },
  { path: "/chat", label: "Chat" },
  { path: "/stack", label: "Stack" },
] as const;

export interface Page {
  readonly title: string;
  readonly path: string;
  readonly account: Account | undefined;
  readonly script?: string;
  readonly content: Markup;
}

export function layout({ title, path, account, script, content }: Page): Markup {
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${title} · Notice board</title>
        <link rel="icon" href="${asset("icon.svg")}" type="image/svg+xml" />
        <link rel="stylesheet" href="${asset("style.css")}" />
        ${script === undefined ? "" : html`<script type="module" src="${asset(script)}"></script>`}
      </head>
      <body>
        <header>
          <a class="brand" href="/"><img src="${asset("icon.svg")}" alt="" width="28" height="28" /> Notice board</a>
          <nav>
            ${links.map((link) => html`<a href="${link.path}" ${link.path === path ? html`aria-current="page"` : ""}>${link.label}</a>`)}
          </nav>
          ${
            account === undefined
              ? html`<div class="who"><a href="/login">Log in</a> <a class="button" href="/register">Register</a></div>`
              : html`<form class="who" method="post" action="/logout">
                  <span>${account.name}</span> <button class="quiet">Log out</button>
                </form>`
          }
        </header>
        <main>${content}</main>
        <footer>Served by Portico, both tiers. <a href="/stack">What served this very page?</a></footer>
      </body>
    </html>`;
}

export function when(time: number): Markup {
  const iso = new Date(time).toISOString();
  return html`<time datetime="${iso}">${iso.slice(0, 16).replace("T", " ")} UTC</time>`;
}
