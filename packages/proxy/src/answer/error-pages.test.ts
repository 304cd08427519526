import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { answer, ask, routerOf } from "../router/test-router.ts";
import { TestExchange } from "../test-exchange.ts";
import { respondError } from "./error.ts";
import { ErrorPages, PagedExchange } from "./error-pages.ts";

let folder: string;
const file = (name: string, content: string): string => {
  writeFileSync(join(folder, name), content);
  return join(folder, name);
};
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "portico-pages-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

const HTML = ["Accept", "text/html"];

describe("pages", () => {
  it("have their placeholders filled in and escaped", () => {
    const page = file("404.html", "<p>{{status}} {{title}} {{reason}} {{id}} {{other}}</p>");
    const exchange = new TestExchange({ id: "<1>", headers: HTML });
    respondError(new PagedExchange(exchange, new ErrorPages({ pages: { 404: page }, intercept: false })), 404, "a & b");
    expect(exchange.text).toBe("<p>404 Not Found a &amp; b &lt;1&gt; {{other}}</p>");
    expect([exchange.status, exchange.field("content-type"), exchange.field("x-request-id")]).toEqual([
      404,
      "text/html; charset=utf-8",
      "<1>",
    ]);
  });

  it("of a status go before those of its kind; JSON is for who prefers it, in its own escaping", () => {
    const pages = new ErrorPages({
      pages: { 503: file("503.html", "503"), "5xx": file("5xx.json", '{"why":"{{reason}}"}') },
      intercept: false,
    });
    const told = (status: number, accept: string, reason?: string): string => {
      const exchange = new TestExchange({ headers: ["Accept", accept] });
      respondError(new PagedExchange(exchange, pages), status, reason);
      return exchange.text;
    };
    expect(told(503, "text/html")).toBe("503");
    expect(JSON.parse(told(503, "application/json"))).toMatchObject({ status: 503, id: "test-id" });
    expect(told(500, "application/json", 'so "so"')).toBe('{"why":"so \\"so\\""}');
    expect(told(404, "text/plain")).toMatch(/^404 Not Found\n/);
  });
});

describe("in a configuration", () => {
  const site = (more: object): object => ({ hosts: ["*"], ...more });
  it("the route's go before the site's, and those before the configuration's", () => {
    const router = routerOf({
      errorPages: { pages: { "4xx": file("all.html", "all") } },
      sites: [
        site({
          errorPages: { pages: { 404: file("site.html", "site") } },
          routes: [
            {
              path: "/own/*",
              errorPages: { pages: { 404: file("route.html", "route") } },
              static: { root: join(folder, "none") },
            },
            { path: "/get", methods: ["GET"], ...answer("") },
            { path: "/chosen", respond: { status: 404, body: "as written" } },
          ],
        }),
        { hosts: ["plain.test"], routes: [{ path: "/x", ...answer("") }] },
      ],
    });
    expect(ask(router, { target: "/no", headers: HTML }).text).toBe("site");
    expect(ask(router, { target: "/get", method: "POST", headers: HTML }).text).toContain("405 Method Not Allowed");
    expect(ask(router, { target: "/chosen", headers: HTML }).text).toBe("as written");
    expect(ask(router, { authority: "plain.test", headers: HTML }).text).toBe("all");
  });

  it("a host that no site has gets the configuration's", () => {
    const router = routerOf({
      errorPages: { pages: { 421: file("421.html", "who?") } },
      sites: [{ hosts: ["a.test"], routes: [{ path: "/*", ...answer("") }] }],
    });
    const exchange = ask(router, { headers: HTML });
    expect([exchange.status, exchange.text]).toEqual([421, "who?"]);
  });

  it("maintenance answers everyone but those who are let through", () => {
    const routes = [{ path: "/*", ...answer("open") }];
    const page = file("work.html", "back soon");
    const router = routerOf({
      sites: [site({ maintenance: { page, allow: ["192.0.2.1"], retryAfter: "90s" }, routes })],
    });
    const closed = ask(router, { headers: HTML });
    expect([closed.status, closed.text, closed.field("retry-after")]).toEqual([503, "back soon", "90"]);
    expect(ask(router, { client: "192.0.2.1" }).text).toBe("open");
    const off = routerOf({ sites: [site({ maintenance: { enabled: false }, routes })] });
    expect(ask(off).text).toBe("open");
  });
});

describe("intercept", () => {
  const intercepted = (intercept: boolean): { exchange: TestExchange; paged: PagedExchange } => {
    const exchange = new TestExchange({ headers: HTML });
    const pages = new ErrorPages({ pages: { "5xx": file("i.html", "ours") }, intercept });
    return { exchange, paged: new PagedExchange(exchange, pages) };
  };

  it("replaces whole responses and streamed ones, and keeps what tells the client what to do", () => {
    const whole = intercepted(true);
    whole.paged.respond(503, ["Retry-After", "7", "Content-Type", "text/x", "Set-Cookie", "a=1"], "theirs");
    expect([whole.exchange.status, whole.exchange.text, whole.exchange.field("retry-after")]).toEqual([
      503,
      "ours",
      "7",
    ]);
    expect([whole.exchange.field("content-type"), whole.exchange.field("set-cookie")]).toEqual([
      "text/html; charset=utf-8",
      undefined,
    ]);
    const streamed = intercepted(true);
    streamed.paged.start(500, ["Content-Length", "6"]);
    expect(streamed.paged.write("theirs")).toBe(true);
    streamed.paged.end();
    expect([streamed.exchange.text, streamed.exchange.ended]).toEqual(["ours", true]);
  });

  it("leaves others alone, and everything where it is off", () => {
    const other = intercepted(true);
    other.paged.respond(404, [], "theirs");
    expect(other.exchange.text).toBe("theirs");
    const off = intercepted(false);
    off.paged.respond(500, [], "theirs");
    expect(off.exchange.text).toBe("theirs");
  });
});
