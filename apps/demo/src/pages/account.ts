import { html } from "hono/html";
import { layout, type Markup } from "./layout.ts";

const texts = {
  register: {
    title: "Register",
    button: "Register",
    complete: "new-password",
    other: html`Registered before? <a href="/login">Log in.</a>`,
  },
  login: {
    title: "Log in",
    button: "Log in",
    complete: "current-password",
    other: html`New here? <a href="/register">Register.</a>`,
  },
} as const;

export function accountPage(kind: keyof typeof texts, name = "", problem?: string): Markup {
  const text = texts[kind];
  const content = html`<form class="card narrow" method="post">
    <h1>${text.title}</h1>
    ${problem === undefined ? "" : html`<p class="problem" role="alert">${problem}</p>`}
    <label>Name <input name="name" value="${name}" autocomplete="username" required autofocus /></label>
    <label
      >Password <input name="password" type="password" autocomplete="${text.complete}" required minlength="8"
    /></label>
    <button>${text.button}</button>
    <p class="hint">${text.other}</p>
  </form>`;
  return layout({ title: text.title, path: `/${kind}`, account: undefined, content });
}
