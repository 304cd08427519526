/** What a route changes in fields, over every transport. */
import http from "node:http";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ExchangeFacts } from "@portico/gateway/exchange";
import { TestExchange } from "../test-exchange.ts";
import { addForwarded } from "./forwarded.ts";
import { ask, Stage } from "./test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

/** Answers with the fields it got; those of its own response are in `X-Answer`, as JSON. */
function mirror(): http.Server {
  return http.createServer((request, response) => {
    const given = request.headers["x-answer"];
    for (const [name, value] of Object.entries(JSON.parse(typeof given === "string" ? given : "{}")))
      response.setHeader(name, value as string | string[]);
    response.end(JSON.stringify(request.rawHeaders));
  });
}

function valuesOf(text: string, name: string): string[] {
  const list = JSON.parse(text) as string[];
  return list.filter((_, at) => at % 2 === 1 && list[at - 1]!.toLowerCase() === name);
}

describe.each(["tcp", "link"] as const)("over %s", (transport) => {
  it("removes, sets and adds fields of requests", async () => {
    const backend = await stage.backend(transport, mirror());
    const front = await stage.front({
      servers: [backend.address],
      proxy: {
        requestHeaders: {
          remove: ["X-Secret", "x-forwarded-host"],
          set: { "X-Who": "$clientAddress for $hostname", Host: "inside.example" },
          add: { "X-Many": "2" },
        },
      },
    });
    const { text } = await ask(front.port, {
      headers: { Host: "shop.example:81", "x-secret": "1", "X-WHO": "me", "X-Many": "1", "X-Kept": "yes" },
    });
    expect(valuesOf(text, "x-secret")).toEqual([]);
    expect(valuesOf(text, "x-forwarded-host")).toEqual([]);
    expect(valuesOf(text, "x-who")).toEqual(["127.0.0.1 for shop.example"]);
    expect(valuesOf(text, "host")).toEqual(["inside.example"]);
    expect(valuesOf(text, "x-many")).toEqual(["1", "2"]);
    expect(valuesOf(text, "x-kept")).toEqual(["yes"]);
    expect(valuesOf(text, "x-forwarded-for")).toEqual(["127.0.0.1"]);
  });

  it("changes fields of responses: what was set, addresses, cookies", async () => {
    const backend = await stage.backend(transport, mirror());
    const front = await stage.front({
      servers: [backend.address],
      proxy: {
        responseHeaders: { remove: ["X-Powered-By"], set: { "X-Frame-Options": "DENY" }, add: { Vary: "Cookie" } },
        rewrites: {
          locations: { "http://in:8000/": "/", "http://in:8000/api/": "https://api.example/" },
          cookieDomains: { "in.example": "out.example", "*": "" },
          cookiePaths: { "/": "/app/", "/api": "/v1" },
        },
      },
    });
    const answer = {
      "X-Powered-By": "it",
      "x-frame-options": "SAMEORIGIN",
      Vary: "Accept",
      Location: "http://in:8000/api/x?y",
      "Content-Location": "http://in:8000/z",
      Refresh: "5; url=http://in:8000/z",
      constructor: "a name that objects know",
      "Set-Cookie": [
        "a=path=/; Domain=.In.Example; Path=/api/x; HttpOnly",
        "b=1; path=/apix; domain=other.example",
        "c=2; Secure",
      ],
    };
    const { headers } = await ask(front.port, { headers: { "X-Answer": JSON.stringify(answer) } });
    expect(headers).toMatchObject({
      "x-frame-options": "DENY",
      vary: "Accept, Cookie",
      location: "https://api.example/x?y",
      "content-location": "/z",
      refresh: "5; url=/z",
      constructor: "a name that objects know",
      "set-cookie": ["a=path=/; Domain=out.example; Path=/v1/x; HttpOnly", "b=1; path=/app/apix", "c=2; Secure"],
    });
    expect(headers["x-powered-by"]).toBeUndefined();
  });

  it("writes Forwarded where the route asks for it, and nobody else may", async () => {
    const backend = await stage.backend(transport, mirror());
    const front = await stage.front({ servers: [backend.address], proxy: { forwarded: true } });
    const plain = await stage.front({ servers: [backend.address] });
    const headers = { Host: "shop.example:81", Forwarded: "for=1.2.3.4", "X-Forwarded-For": "1.2.3.4" };
    const asked = await ask(front.port, { headers });
    expect(valuesOf(asked.text, "forwarded")).toEqual(['for=127.0.0.1;proto=http;host="shop.example:81"']);
    expect(valuesOf((await ask(plain.port, { headers })).text, "forwarded")).toEqual([]);
  });
});

describe("Forwarded", () => {
  const from = (address: string, vouchedBy: "socket" | "forwarded", authority = "a"): TestExchange => {
    const exchange = new TestExchange({ authority });
    const facts: Partial<ExchangeFacts> = {
      peer: { address: "10.0.0.1", port: 1 },
      client: { address, port: 1, vouchedBy },
    };
    Object.assign(exchange.facts, facts);
    return exchange;
  };

  it.each([
    ["an IPv6 address", [], from("2001:db8::1", "socket"), 'for="[2001:db8::1]";proto=http;host="a"'],
    ["a unix socket", [], from("", "socket"), 'for=unknown;proto=http;host="a"'],
    ["no host", [], from("192.0.2.1", "socket", ""), "for=192.0.2.1;proto=http"],
    [
      "a trusted front's Forwarded",
      ["forwarded", "for=192.0.2.1;proto=https", "X-Forwarded-For", "192.0.2.1, 10.0.0.1"],
      from("192.0.2.1", "forwarded"),
      'for=192.0.2.1;proto=https, for=10.0.0.1;proto=http;host="a"',
    ],
    [
      "a trusted front's X-Forwarded-For",
      ["X-Forwarded-For", "2001:db8::2, 192.0.2.1, 10.0.0.1"],
      from("2001:db8::2", "forwarded"),
      'for="[2001:db8::2]", for=192.0.2.1, for=10.0.0.1;proto=http;host="a"',
    ],
  ])("of %s", (_name, headers, exchange, expected) => {
    const list = addForwarded(headers, exchange);
    expect(list.slice(-2)).toEqual(["Forwarded", expected]);
    expect(list.filter((name, at) => at % 2 === 0 && /^forwarded$/i.test(name))).toHaveLength(1);
  });
});
