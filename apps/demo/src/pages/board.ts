import { html } from "hono/html";
import type { Account } from "../accounts.ts";
import type { Notice } from "../notices.ts";
import { layout, type Markup, when } from "./layout.ts";

/** One notice; the live feed sends exactly this markup too, so that a page looks the same however it came about. */
export function noticeCard(notice: Notice): Markup {
  return html`<article class="notice" id="notice-${notice.id}" data-author="${notice.author}">
    ${notice.image === null ? "" : html`<img src="/images/${notice.image}" alt="" loading="lazy" />`}
    <div>
      <h2>${notice.title}</h2>
      <p class="text">${notice.body}</p>
      <p class="meta">${notice.author}, ${when(notice.createdAt)}</p>
      <form class="remove" method="post" action="/notices/${notice.id}/remove">
        <button class="quiet">Remove</button>
      </form>
    </div>
  </article>`;
}

/** A notice that was not taken: why, and what was written, so that nobody has to write it again. */
export interface Rejected {
  readonly problem: string;
  readonly title: string;
  readonly body: string;
}

export interface BoardContent {
  readonly account: Account | undefined;
  readonly notices: readonly Notice[];
  /** Id of the last event that the notices hold. */
  readonly since: number;
  readonly rejected: Rejected | undefined;
}

export function boardPage({ account, notices, since, rejected }: BoardContent): Markup {
  const form =
    account === undefined
      ? html`<p class="hint"><a href="/register">Register</a> or <a href="/login">log in</a> to put up a notice.</p>`
      : html`<form class="card" method="post" action="/notices" enctype="multipart/form-data">
          <h2>New notice</h2>
          ${rejected === undefined ? "" : html`<p class="problem" role="alert">${rejected.problem}</p>`}
          <label>Title <input name="title" value="${rejected?.title ?? ""}" maxlength="120" required /></label>
          <label>Text <textarea name="body" rows="3" maxlength="5000">${rejected?.body ?? ""}</textarea></label>
          <label>Picture <input name="image" type="file" accept="image/png,image/jpeg,image/gif,image/webp" /></label>
          <button>Put it up</button>
        </form>`;
  const content = html`${form}
    <p class="live" role="status"><span class="dot"></span> <span id="live">connecting…</span></p>
    <section id="notices" data-account="${account?.name ?? ""}" data-since="${since}">
      ${notices.map(noticeCard)}
      <p class="empty">Nothing on the board yet.</p>
    </section>`;
  return layout({ title: "Board", path: "/", account, script: "board.js", content });
}
