import { describe, expect, it } from "vitest";
import { type ResolvedConfig, type RouteSettings, configSchema } from "../config/schema.ts";
import { FileCache } from "../static/cache.ts";
import { TestExchange, type TestRequest } from "../test-exchange.ts";
import { HostTable, hostName } from "./hosts.ts";
import { lookupPath } from "./path.ts";
import { PathTable } from "./paths.ts";
import { Router } from "./router.ts";

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

type Site = { hosts: string[]; routes: Record<string, unknown>[] };

function routerOf(sites: Site[]): Router {
  const config: ResolvedConfig = configSchema.parse({ sites });
  return new Router(config, {
    files: { log: QUIET, files: new FileCache(0, 0), checkMs: 1000 },
    proxyHandler: (route: RouteSettings) => (exchange) => exchange.respond(200, [], `proxy ${route.path}`),
  });
}

function ask(router: Router, request: TestRequest): TestExchange {
  const exchange = new TestExchange(request);
  router.handle(exchange);
  return exchange;
}

const answer = (body: string): Record<string, unknown> => ({ respond: { body } });

describe("lookupPath", () => {
  it.each([
    ["/", "/"],
    ["/a/b?x=/../y", "/a/b"],
    ["//a///b/", "/a/b/"],
    ["/a/./b/../c", "/a/c"],
    ["/a/..", "/"],
    ["/%61dmin", "/admin"],
    ["/a%2Fb", "/a%2Fb"],
    ["/a%2fb", "/a%2Fb"],
    ["/%2e%2e/a", undefined],
    ["/a/%2e%2e/%2e%2e/b", undefined],
    ["/..", undefined],
    ["/%00", undefined],
    ["/%zz", undefined],
    ["/%ff", undefined],
    ["/caf%C3%A9", "/café"],
    ["/a+b%20c", "/a+b c"],
    ["/.well-known/x", "/.well-known/x"],
    ["/a/...", "/a/..."],
  ])("%s is %s", (target, path) => expect(lookupPath(target)).toBe(path));
});

describe("hosts", () => {
  it.each([
    ["Example.COM", "example.com"],
    ["example.com:8080", "example.com"],
    ["example.com.", "example.com"],
    ["example.com.:80", "example.com"],
    ["[::1]:80", "[::1]"],
    ["[::1]", "[::1]"],
    ["", ""],
  ])("%s is %s", (authority, name) => expect(hostName(authority)).toBe(name));

  it("takes the exact name, then the longest wildcard, then the default", () => {
    const table = new HostTable<string>();
    table.add("*.example.com", "wildcard");
    table.add("*.b.example.com", "deeper");
    table.add("www.example.com", "exact");
    expect(table.find("www.example.com")).toBe("exact");
    expect(table.find("a.example.com")).toBe("wildcard");
    expect(table.find("a.b.example.com:81")).toBe("deeper");
    expect(table.find("b.example.com")).toBe("wildcard");
    expect(table.find("example.com")).toBeUndefined();
    table.add("*", "other");
    expect(table.find("example.com")).toBe("other");
  });

  it("stays bounded and right when clients send countless names", () => {
    const table = new HostTable<string>();
    table.add("*.example.com", "wildcard");
    for (let index = 0; index < 5000; index++) expect(table.find(`h${index}.example.com`)).toBe("wildcard");
    expect(table.find("h.example.org")).toBeUndefined();
  });
});

describe("paths", () => {
  const names = (table: PathTable<{ path: string; name: string }>, path: string): string[] =>
    table.find(path).map((route) => route.name);

  it("takes exact, then the longest prefix, then the order", () => {
    const table = new PathTable([
      { path: "/*", name: "all" },
      { path: "/a/*", name: "a1" },
      { path: "/a/*", name: "a2" },
      { path: "/a/b/c/*", name: "abc" },
      { path: "/a/b", name: "exact" },
    ]);
    expect(names(table, "/a/b")).toEqual(["exact", "a1", "a2", "all"]);
    expect(names(table, "/a/b/c/d/e")).toEqual(["abc", "a1", "a2", "all"]);
    expect(names(table, "/a/b/x")).toEqual(["a1", "a2", "all"]);
    expect(names(table, "/a/")).toEqual(["a1", "a2", "all"]);
    expect(names(table, "/a")).toEqual(["all"]);
    expect(names(table, "/")).toEqual(["all"]);
    expect(new PathTable([{ path: "/x/*", name: "x" }]).find("/y")).toEqual([]);
  });

  it("has no trouble with names of Object's prototype", () => {
    const table = new PathTable([{ path: "/constructor/*", name: "c" }]);
    expect(names(table, "/__proto__/x")).toEqual([]);
    expect(names(table, "/constructor/x")).toEqual(["c"]);
  });
});

describe("router", () => {
  const router = routerOf([
    {
      hosts: ["example.com"],
      routes: [
        { path: "/*", proxy: { upstream: "app" } },
        { path: "/admin/*", ...answer("admin") },
        { path: "/form", methods: ["GET"], ...answer("form") },
        { path: "/caf%C3%A9", ...answer("coffee") },
        { path: "/old", redirect: { to: "https://$host/new$query", status: 301 } },
        { path: "/keep/*", redirect: { to: "$path$query" } },
        { path: "/small", limits: { bodySize: "10B" }, ...answer("small") },
      ],
    },
    { hosts: ["only.example.com"], routes: [{ path: "/post", methods: ["POST", "PUT"], ...answer("posted") }] },
  ]);

  it("refuses a host that no site has", () => {
    expect(ask(router, { authority: "evil.test" }).status).toBe(421);
    expect(ask(router, { authority: "" }).status).toBe(421);
  });

  it.each(["/admin/x", "//admin/x", "/%61dmin/x", "/a/../admin/x", "/./admin//x"])("reads %s as one path", (target) =>
    expect(ask(router, { target }).text).toBe("admin"),
  );

  it("answers 400 where a path has no one reading", () => {
    for (const target of ["/%", "/..", "/%00"]) expect(ask(router, { target }).status, target).toBe(400);
    expect(ask(router, { target: "relative" }).status).toBe(400);
  });

  it("compares patterns as it compares paths", () => expect(ask(router, { target: "/caf%c3%a9" }).text).toBe("coffee"));

  it("lets a less specific route take what the best one's methods refuse", () => {
    expect(ask(router, { target: "/form" }).text).toBe("form");
    expect(ask(router, { target: "/form", method: "HEAD" }).status).toBe(200);
    expect(ask(router, { target: "/form", method: "POST" }).text).toBe("proxy /*");
  });

  it("answers 405 with Allow where every route of the path refuses the method, 404 where there is none", () => {
    const refused = ask(router, { authority: "only.example.com", target: "/post" });
    expect(refused.status).toBe(405);
    expect(refused.field("allow")).toBe("POST, PUT");
    expect(ask(router, { authority: "only.example.com", target: "/none" }).status).toBe(404);
  });

  it("redirects", () => {
    const moved = ask(router, { target: "/old?a=1&b=%20", authority: "example.com:81" });
    expect([moved.status, moved.field("location")]).toEqual([301, "https://example.com:81/new?a=1&b=%20"]);
    expect(ask(router, { target: "//keep/x" }).field("location")).toBe("/keep/x");
    expect(ask(router, { target: "/keep/\x80" }).status).toBe(400);
  });

  it("answers OPTIONS * itself and CONNECT never", () => {
    expect(ask(router, { method: "OPTIONS", target: "*" }).status).toBe(204);
    expect(ask(router, { method: "CONNECT", target: "example.com:443" }).status).toBe(501);
  });

  it("refuses bodies that are announced too long, and those that turn out to be", () => {
    expect(ask(router, { target: "/small", method: "POST", bodyLength: 11 }).status).toBe(413);
    expect(ask(router, { target: "/small", method: "POST", bodyLength: 10 }).status).toBe(200);
    expect(ask(router, { target: "/", method: "POST", bodyLength: 10 * 1024 ** 2 + 1 }).status).toBe(413);
  });

  it("finds among ten thousand sites and routes as among ten", () => {
    const routes = Array.from({ length: 10_000 }, (_, index) => ({
      path: `/p${index}/*`,
      ...answer(`route ${index}`),
    }));
    const sites = Array.from({ length: 10_000 }, (_, index) => ({
      hosts: [`h${index}.test`],
      routes: [{ path: "/*", ...answer(`site ${index}`) }],
    }));
    const large = routerOf([...sites, { hosts: ["example.com"], routes }]);
    expect(ask(large, { target: "/p9999/x" }).text).toBe("route 9999");
    expect(ask(large, { authority: "h7777.test" }).text).toBe("site 7777");
  });
});

describe("error answers", () => {
  const router = routerOf([{ hosts: ["a.test"], routes: [{ path: "/a", ...answer("") }] }]);
  it.each([
    ["text/html,application/xhtml+xml,*/*;q=0.8", "text/html; charset=utf-8"],
    ["application/json, text/html", "application/json"],
    ["text/html;q=0.5, application/json", "application/json"],
    ["application/json;level=1;q=0.1;x=2, text/html; q=0.2", "text/html; charset=utf-8"],
    ["text/html;q=0, text/plain;q=0.1", "text/plain; charset=utf-8"],
    ["TEXT/HTML, application/json", "text/html; charset=utf-8"],
    ["*/*", "text/plain; charset=utf-8"],
  ])("for %s is %s, with the id of the request", (accept, type) => {
    const exchange = ask(router, { authority: "a.test", target: "/no", headers: ["Accept", accept], id: "<id&1>" });
    expect(exchange.status).toBe(404);
    expect(exchange.field("content-type")).toBe(type);
    expect(exchange.text).toContain(type.startsWith("text/html") ? "&lt;id&amp;1&gt;" : "<id&1>");
  });
});
