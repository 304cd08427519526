/** The board as JSON, for programs. Authenticated by the same session cookie, or by it as a bearer token. */
import { Hono } from "hono";
import { InputError } from "./accounts.ts";
import type { Setting } from "./setting.ts";

export const api: Hono<Setting> = new Hono<Setting>();

api.get("/notices", (c) => {
  const before = Number(c.req.query("before") ?? Number.MAX_SAFE_INTEGER);
  if (!Number.isSafeInteger(before)) return c.json({ error: "before is the id of a notice" }, 400);
  return c.json({ notices: c.var.board.notices.list(before) });
});

api.get("/notices/:id{[0-9]+}", (c) => {
  const notice = c.var.board.notices.find(Number(c.req.param("id")));
  return notice === undefined ? c.json({ error: "there is no such notice" }, 404) : c.json(notice);
});

api.post("/notices", async (c) => {
  if (c.var.account === undefined) return c.json({ error: "log in first" }, 401);
  const input: unknown = await c.req.json().catch(() => undefined);
  const { title, body = "" } = (typeof input === "object" && input !== null ? input : {}) as Record<string, unknown>;
  if (typeof title !== "string" || typeof body !== "string")
    return c.json({ error: 'expected {"title": text, "body": text}' }, 400);
  const notice = c.var.board.notices.post(c.var.account, title, body, null);
  return c.json(notice, 201, { location: `/api/notices/${notice.id}` });
});

api.delete("/notices/:id{[0-9]+}", (c) => {
  if (c.var.account === undefined) return c.json({ error: "log in first" }, 401);
  const removed = c.var.board.notices.remove(c.var.account, Number(c.req.param("id")));
  return removed ? c.body(null, 204) : c.json({ error: "there is no such notice of yours" }, 404);
});

api.onError((error, c) => {
  if (error instanceof InputError) return c.json({ error: error.message }, 400);
  throw error;
});

api.notFound((c) => c.json({ error: "there is no such resource" }, 404));
