/** Which route a request meets, and what becomes of it there. */
import { describe, expect, it } from "vitest";
import { compilePath } from "./path-pattern.ts";
import { normalTarget } from "./path.ts";
import { globExpression, literalStart } from "./pattern.ts";
import { answer, ask, routerOf, siteOf } from "./test-router.ts";

describe("patterns", () => {
  it.each([
    ["/about", "/about", undefined],
    ["/a/*", "/a/*", undefined],
    ["/*", "/*", undefined],
    ["/caf%C3%A9/*", "/café/*", undefined],
    ["/a/*.png", "/a/*", /^\/a\/([^/]*)\.png$/s],
    ["/a/*/b/*", "/a/*", /^\/a\/([^/]*)\/b\/(.*)$/s],
    ["/**/x.php", "/*", /^\/(.*)\/x\.php$/s],
    ["/ab*", "/*", /^\/ab([^/]*)$/s],
    ["~^/users/(\\d+)$", "/users/*", /^\/users\/(\d+)$/],
    ["~^/users/a?b", "/users/*", /^\/users\/a?b/],
    ["~^/v1\\.0/x+", "/v1.0/*", /^\/v1\.0\/x+/],
    ["~^/a/|^/b/", "/*", /^\/a\/|^\/b\//],
    ["~^/a/(b|c)/", "/a/*", /^\/a\/(b|c)\//],
    ["~\\.php$", "/*", /\.php$/],
    ["~*^/a/b", "/*", /^\/a\/b/i],
  ])("%s is filed under %s", (pattern, filed, expression) => {
    const compiled = compilePath(pattern);
    expect(compiled.filed).toBe(filed);
    expect(String(compiled.expression)).toBe(String(expression));
  });

  it.each([
    [/^\/abc/, "/abc"],
    [/^\/ab*c/, "/a"],
    [/^\/ab+c/, "/ab"],
    [/^\/a\d/, "/a"],
    [/^\/a[|]b/, "/a"],
    [/\/abc/, ""],
    [/^\/a|b/, ""],
  ])("%s begins with %s", (expression, start) => expect(literalStart(expression)).toBe(start));

  it("takes what is special in expressions for itself in globs", () => {
    const glob = globExpression("/a+b(c).$/*", "/");
    expect(["/a+b(c).$/x", "/aab(c).$/x", "/a+b(c).$/x/y"].map((path) => glob.test(path))).toEqual([
      true,
      false,
      false,
    ]);
  });
});

describe("precedence", () => {
  const router = routerOf(
    siteOf(
      { path: "/*", ...answer("all") },
      { path: "/img/*", ...answer("images") },
      { path: "~\\.php$", ...answer("php") },
      { path: "/img/*.png", ...answer("never: the prefix before it takes all") },
      { path: "/img/logo.png", ...answer("logo") },
      { path: "/user/*/posts", ...answer("posts") },
      { path: "/user/*", ...answer("user") },
      { path: "~^/user/\\d+$", ...answer("never") },
      { path: "/user/*/posts/", match: { query: { all: true } }, ...answer("all posts") },
    ),
  );
  it.each([
    ["/img/logo.png", "logo"],
    ["/img/x.png", "images"],
    ["/x.php", "all"],
    ["/user/7/posts", "posts"],
    ["/user/7/8/posts", "user"],
    ["/user/7", "user"],
    ["/user/7/posts/?all", "user"],
  ])("%s meets %s", (target, body) => expect(ask(router, { target }).text).toBe(body));

  it("is the order among those of one prefix", () => {
    const php = routerOf(siteOf({ path: "~\\.php$", ...answer("php") }, { path: "/*", ...answer("all") }));
    expect(["/a/x.php", "/a/x.ph"].map((target) => ask(php, { target }).text)).toEqual(["php", "all"]);
  });
});

describe("conditions", () => {
  const router = routerOf(
    siteOf(
      { path: "/*", match: { headers: { "X-Beta": "1" } }, ...answer("header") },
      { path: "/*", match: { headers: { "user-agent": "~*bot" } }, ...answer("bot") },
      { path: "/*", match: { query: { v: "2*", debug: false } }, ...answer("query") },
      { path: "/*", match: { cookies: { canary: true } }, ...answer("cookie") },
      { path: "/*", match: { clients: ["192.0.2.0/24"] }, ...answer("client") },
      { path: "/post", methods: ["POST"], match: { query: { go: "on" } }, ...answer("posted") },
      { path: "/other", methods: ["PUT"], ...answer("put") },
    ),
  );
  it.each([
    [{ headers: ["x-beta", "1"] }, "header"],
    [{ headers: ["x-beta", "2"] }, undefined],
    [{ headers: ["User-Agent", "GoogleBot/2"] }, "bot"],
    [{ target: "/?v=21" }, "query"],
    [{ target: "/?v=21&debug" }, undefined],
    [{ target: "/?w=2" }, undefined],
    [{ headers: ["Cookie", "a=1; canary=yes"] }, "cookie"],
    [{ headers: ["Cookie", "acanary=yes"] }, undefined],
    [{ client: "192.0.2.9" }, "client"],
    [{ client: "::ffff:192.0.2.9" }, "client"],
    [{ client: "198.51.100.9" }, undefined],
  ])("%j meets %s", (request, body) => {
    const exchange = ask(router, request);
    expect(exchange.status === 404 ? undefined : exchange.text).toBe(body);
  });

  it("a method that only a route refuses which fits otherwise is 405", () => {
    expect(ask(router, { target: "/other" }).field("allow")).toBe("PUT");
    expect(ask(router, { target: "/post?go=on" }).field("allow")).toBe("POST");
    expect(ask(router, { target: "/post" }).status).toBe(404);
  });
});

describe("rewrite", () => {
  const to = (route: object, target: string): string =>
    ask(routerOf(siteOf({ proxy: { upstream: "app" }, ...route })), { target }).text.replace("app ", "");
  it.each([
    [{ path: "/api/*", rewrite: { stripPrefix: "/api" } }, "/api/users?x=1", "/users?x=1"],
    [{ path: "/api/*", rewrite: { stripPrefix: "/api/" } }, "/api/", "/"],
    [{ path: "/api", rewrite: { stripPrefix: "/api" } }, "/api", "/"],
    [{ path: "/*", rewrite: { stripPrefix: "/api" } }, "/apix/y", "/apix/y"],
    [{ path: "/api/*", rewrite: { stripPrefix: "/api" } }, "/api/caf%C3%A9/a%2Fb/%7e", "/caf%C3%A9/a%2Fb/%7e"],
    [{ path: "/api/*", rewrite: { stripPrefix: "/api" } }, "//api/./x//%2e%2e/y", "/y"],
    [{ path: "/api/*", rewrite: { stripPrefix: "/api" } }, "/%61pi/x", "/x"],
    [{ path: "/api/*", rewrite: { stripPrefix: "/api", addPrefix: "/v1" } }, "/api/users", "/v1/users"],
    [{ path: "/*", rewrite: { addPrefix: "/v1/" } }, "/users?q", "/v1/users?q"],
    [{ path: "~^/u/(?<id>\\d+)/(.*)$", rewrite: { to: "/users/${id}/$2" } }, "/u/7/a%20b?x", "/users/7/a%20b?x"],
    [{ path: "/a/*/b/*", rewrite: { to: "/$2?of=$1" } }, "/a/1/b/2/3?q", "/2/3?of=1"],
    [{ path: "/a/*", rewrite: { to: "/$1" } }, "/a/caf%C3%A9/%3f%23", "/caf%C3%A9/%3F%23"],
  ])("%j makes %s %s", (route, target, expected) => expect(to(route, target)).toBe(expected));

  it("keeps the bytes of what is in normal form", () => {
    expect(normalTarget("/a;b=1/c:d@e")).toBe("/a;b=1/c:d@e");
    expect(normalTarget("/a/b/..")).toBe("/a/");
    expect(normalTarget("//")).toBe("/");
  });

  it("redirects know the groups of the pattern too, and no other host", () => {
    const router = routerOf(
      siteOf(
        { path: "~^/blog/(\\d+)$", redirect: { to: "https://$hostname/posts/$1$query" } },
        { path: "/go/*", redirect: { to: "/$1", status: 302 } },
        { path: "/raw/*", redirect: { to: "$path" } },
      ),
    );
    expect(ask(router, { target: "/blog/7?x", authority: "a.test:81" }).field("location")).toBe(
      "https://a.test/posts/7?x",
    );
    expect(ask(router, { target: "/go//evil.test" }).field("location")).toBe("/evil.test");
    expect(ask(router, { target: "/go/%2fevil.test" }).field("location")).toBe("/%2Fevil.test");
    expect(ask(router, { target: "/go/%5cevil.test" }).field("location")).toBe("/%5Cevil.test");
    expect(ask(router, { target: "/\\evil.test/../raw/" }).field("location") ?? "").not.toMatch(/^[/\\]{2}/);
  });
});

describe("hosts", () => {
  const site = (host: string): object => ({ hosts: [host], routes: [{ path: "/*", ...answer(host) }] });
  const router = routerOf({
    sites: [
      site("~^(.+)\\.test$"),
      site("www.*"),
      site("*.example.com"),
      site("www.example.*"),
      site("www.example.com"),
    ],
  });
  it.each([
    ["www.example.com", "www.example.com"],
    ["WWW.example.com.:80", "www.example.com"],
    ["a.example.com", "*.example.com"],
    ["www.example.org", "www.example.*"],
    ["www.other.org", "www.*"],
    ["WWW.x.TEST", "www.*"],
    ["a.test", "~^(.+)\\.test$"],
    ["other.org", undefined],
    ["www", undefined],
  ])("%s is of %s", (authority, host) => {
    const exchange = ask(router, { authority });
    expect(exchange.status === 421 ? undefined : exchange.text).toBe(host);
  });
});

describe("canonical", () => {
  const location = (canonical: string, request: object): string | undefined => {
    const router = routerOf({ sites: [{ hosts: ["*"], canonical, routes: [{ path: "/*", ...answer("here") }] }] });
    return ask(router, request).field("location");
  };
  it.each([
    ["https://www.a.test", { authority: "a.test", target: "/x?y" }, "https://www.a.test/x?y"],
    ["https://www.a.test", { authority: "www.a.test", scheme: "https" }, undefined],
    ["https://www.a.test", { authority: "WWW.A.test.:443", scheme: "https" }, undefined],
    ["https://", { authority: "b.test:8080", target: "/x" }, "https://b.test/x"],
    ["//a.test", { authority: "www.a.test" }, "http://a.test/"],
    ["//a.test:81", { authority: "a.test" }, "http://a.test:81/"],
    ["//a.test", { authority: "a.test:81" }, undefined],
    ["https://", { target: "/.well-known/acme-challenge/x" }, undefined],
  ] as const)("%s sends %j to %s", (canonical, request, expected) =>
    expect(location(canonical, request)).toBe(expected),
  );
});

describe("ten thousand", () => {
  const router = routerOf({
    sites: Array.from({ length: 100 }, (_, site) => ({
      hosts: [`h${site}.test`],
      routes: Array.from({ length: 100 }, (_unused, route) => ({
        path: `/p${route}/*`,
        ...answer(`${site} ${route}`),
      })),
    })),
  });
  it("are found as ten are", () => {
    for (const at of [0, 50, 99])
      expect(ask(router, { authority: `h${at}.test`, target: `/p${99 - at}/x` }).text).toBe(`${at} ${99 - at}`);
  });
});

it("gives CONNECT to the first route that passes it on, of the site of the name", () => {
  const router = routerOf({
    sites: [
      { hosts: ["plain.example"], routes: [{ path: "/*", proxy: { upstream: "app" } }] },
      {
        hosts: ["*"],
        routes: [
          { path: "/*", match: { headers: { "x-no": "1" } }, proxy: { upstream: "app", connect: true } },
          { path: "/in/*", internal: true, proxy: { upstream: "app", connect: true } },
          { path: "/deep/*", rewrite: { addPrefix: "/x" }, proxy: { upstream: "app", connect: true } },
        ],
      },
    ],
  });
  const to = (target: string) => ask(router, { method: "CONNECT", target, authority: target });
  expect(to("plain.example:443").status).toBe(501);
  expect(Buffer.concat(to("far.example:443").parts).toString()).toBe("app far.example:443");
});
