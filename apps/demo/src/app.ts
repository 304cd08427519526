/**
 * The notice board: a small application as a team would write it, on Hono, served through TSGI.
 * TSGI's context is Hono's environment: `c.env.worker`, `c.env.signal`, `c.env.log` and the rest.
 */
import type { Context as TsgiContext, Reply } from "@portico/gateway";
import { type Context, Hono } from "hono";
import { deleteCookie, getCookie, setCookie } from "hono/cookie";
import { csrf } from "hono/csrf";
import { HTTPException } from "hono/http-exception";
import { parse } from "hono/utils/cookie";
import { secureHeaders } from "hono/secure-headers";
import { type Account, InputError, SESSION_SECONDS } from "./accounts.ts";
import { api } from "./api.ts";
import { openBoard } from "./board.ts";
import { feed } from "./feed.ts";
import { absentPage } from "./pages/absent.ts";
import { accountPage } from "./pages/account.ts";
import { boardPage, type Rejected } from "./pages/board.ts";
import { chatPage } from "./pages/chat.ts";
import type { Markup } from "./pages/layout.ts";
import { stackPage } from "./pages/stack.ts";
import type { Board, Setting } from "./setting.ts";
import { stackFacts } from "./stack.ts";

const COOKIE = "session";

const app = new Hono<Setting>();

app.get("/healthz", (c) => c.text("ok\n"));

app.use(async (c, next) => {
  c.set("board", c.env.state as Board);
  c.set("account", c.var.board.accounts.find(sessionToken(c)));
  await next();
});
app.use(
  secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: ["'self'"],
      imgSrc: ["'self'", "data:"],
      connectSrc: ["'self'"],
      frameAncestors: ["'none'"],
    },
  }),
);
// A bearer token is never sent by a browser on its own, so another site cannot borrow it.
const fromOwnPages = csrf();
app.use((c, next) => (c.req.header("authorization") === undefined ? fromOwnPages(c, next) : next()));

app.get("/", (c) => c.html(board(c)));

app.post("/notices", async (c) => {
  if (c.var.account === undefined) return c.redirect("/login", 303);
  const form = await c.req.parseBody();
  const title = text(form["title"]);
  const body = text(form["body"]);
  try {
    const image =
      form["image"] instanceof File && form["image"].size > 0 ? await c.var.board.images.keep(form["image"]) : null;
    c.var.board.notices.post(c.var.account, title, body, image);
    return c.redirect("/", 303);
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const rejected = { problem: error.message, title, body };
    return c.html(board(c, rejected), 400);
  }
});

app.post("/notices/:id{[0-9]+}/remove", (c) => {
  if (c.var.account !== undefined) c.var.board.notices.remove(c.var.account, Number(c.req.param("id")));
  return c.redirect("/", 303);
});

app.get("/images/:name", async (c) => {
  const image = await c.var.board.images.read(c.req.param("name"));
  if (image === undefined) return c.notFound();
  const headers = {
    "content-type": image.type,
    "content-length": String(image.size),
    "cache-control": "public, max-age=31536000, immutable",
  };
  return c.body(image.stream(), 200, headers);
});

app.get("/live", (c) => {
  const { events } = c.var.board;
  const since = Number(c.req.header("last-event-id") ?? c.req.query("since") ?? events.last);
  return feed(events, c.env.signal, Number.isSafeInteger(since) ? since : events.last);
});

app.get("/chat", (c) => c.html(chatPage(c.var.account)));

app.get("/stack", (c) => c.html(stackPage(c.var.account, stackFacts(c.env))));
app.get("/stack.json", (c) => c.json(stackFacts(c.env)));

for (const kind of ["register", "login"] as const) {
  app.get(`/${kind}`, (c) => c.html(accountPage(kind)));
  app.post(`/${kind}`, async (c) => {
    const form = await c.req.parseBody();
    const name = text(form["name"]);
    try {
      const account = await c.var.board.accounts[kind](name, text(form["password"]));
      openSession(c, account);
      return c.redirect("/", 303);
    } catch (error) {
      if (!(error instanceof InputError)) throw error;
      return c.html(accountPage(kind, name, error.message), 400);
    }
  });
}

app.post("/logout", (c) => {
  c.var.board.accounts.closeSession(sessionToken(c) ?? "");
  deleteCookie(c, COOKIE, { path: "/" });
  return c.redirect("/", 303);
});

app.route("/api", api);

app.notFound((c) => c.html(absentPage(c.var.account), 404));

app.onError((error, c) => {
  if (error instanceof HTTPException) return error.getResponse();
  c.env.log.error({ err: error }, "request failed");
  return c.text(`Something went wrong here; it has been noted as ${c.env.id}.\n`, 500);
});

/** TSGI gives requests that ask for a WebSocket to this function, in place of `fetch`. */
function websocket(request: Request, ctx: TsgiContext): Reply {
  const url = new URL(request.url);
  if (url.pathname !== "/chat/socket") return { status: 404, body: "There is no WebSocket here.\n" };
  // A browser sends the cookie from any page; only our own pages may use it (cross-site WebSocket hijacking).
  if (request.headers.get("origin") !== null && request.headers.get("origin") !== url.origin) {
    return { status: 403, body: "This WebSocket is for the pages of this site.\n" };
  }
  const board = ctx.state as Board;
  const token = parse(request.headers.get("cookie") ?? "")[COOKIE];
  return board.chat.join(ctx, board.accounts.find(token));
}

/** The feed goes on from the event that was the last when the page was made: nothing falls between the two. */
function board(c: Context<Setting>, rejected?: Rejected): Markup {
  const since = c.var.board.events.last;
  return boardPage({ account: c.var.account, notices: c.var.board.notices.list(), since, rejected });
}

function sessionToken(c: Context<Setting>): string | undefined {
  return getCookie(c, COOKIE) ?? /^Bearer (\S+)$/.exec(c.req.header("authorization") ?? "")?.[1];
}

function openSession(c: Context<Setting>, account: Account): void {
  const token = c.var.board.accounts.openSession(account);
  setCookie(c, COOKIE, token, {
    path: "/",
    httpOnly: true,
    sameSite: "Lax",
    secure: c.env.http.scheme === "https",
    maxAge: SESSION_SECONDS,
  });
}

function text(value: unknown): string {
  return typeof value === "string" ? value : "";
}

export default {
  fetch: app.fetch,
  websocket,
  lifespan: {
    startup: (): Board => openBoard(process.env["DEMO_DATA"] ?? new URL("../data", import.meta.url).pathname),
    shutdown: (board: Board): void => board.close(),
  },
};
