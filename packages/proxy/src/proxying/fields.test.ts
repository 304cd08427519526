import { describe, expect, it } from "vitest";
import type { ClientFacts, Exchange, HeaderList } from "@portico/gateway/exchange";
import { TestExchange } from "../test-exchange.ts";
import { isDerivable, namedByConnection, requestFields, responseFields, trailerFields } from "./fields.ts";

function forwarded(
  headers: HeaderList,
  options: {
    client?: Partial<ClientFacts>;
    version?: "1.0" | "1.1";
    length?: number;
    trailers?: boolean;
    method?: string;
  } = {},
): Record<string, string> {
  const plain = new TestExchange({ headers, version: options.version ?? "1.1", method: options.method ?? "GET" });
  const client: ClientFacts = { address: "203.0.113.7", port: 1, vouchedBy: "socket", ...options.client };
  const exchange: Exchange = Object.assign(plain, { facts: { ...plain.facts, client } });
  const list = requestFields(
    exchange,
    options.length ?? 0,
    "pass",
    "upstream:1",
    options.trailers ?? false,
    "portico-1",
  );
  const fields: Record<string, string> = {};
  for (let i = 0; i < list.length; i += 2) {
    const name = list[i]!.toLowerCase();
    fields[name] = name in fields ? `${fields[name]} | ${list[i + 1]}` : list[i + 1]!;
  }
  return fields;
}

describe("requestFields", () => {
  it("keeps Proxy from servers that would make HTTP_PROXY of it", () =>
    expect(forwarded(["Host", "a", "PROXY", "http://evil", "Proxy-Hint", "x"])).toMatchObject({ "proxy-hint": "x" }));
  it("keeps no Proxy", () => expect(forwarded(["Host", "a", "Proxy", "http://evil"])).not.toHaveProperty("proxy"));

  it.each([
    ["Content-Type", "content-type"],
    ["authorization", "Authorization"],
  ])("refuses %s that stands twice, and takes it once", (one, other) => {
    expect(forwarded([one, "a/b"])[one.toLowerCase()]).toBe("a/b");
    const twice = expect(() => forwarded([one, "a/b", "X-Other", "1", other, "a/b"]));
    twice.toThrow(expect.objectContaining({ code: "repeated-field", status: 400, side: "downstream" }) as Error);
  });

  it("takes a Content-Type beside an Authorization", () => {
    expect(forwarded(["Content-Type", "a/b", "Authorization", "Basic x"])).toMatchObject({
      "content-type": "a/b",
      authorization: "Basic x",
    });
  });

  it("passes end-to-end fields on and adds what we know", () => {
    expect(forwarded(["Host", "example.com", "Accept", "*/*", "Cookie", "a=b", "Cookie", "c=d"])).toEqual({
      host: "example.com",
      accept: "*/*",
      cookie: "a=b | c=d",
      via: "1.1 portico-1",
      "x-forwarded-for": "203.0.113.7",
      "x-forwarded-proto": "http",
      "x-forwarded-host": "example.com",
      "x-forwarded-port": "5000",
      "x-request-id": "test-id",
    });
  });

  it.each([
    "Connection",
    "Keep-Alive",
    "Proxy-Connection",
    "Transfer-Encoding",
    "TE",
    "Trailer",
    "Upgrade",
    "Expect",
    "Proxy-Authorization",
    "Proxy-Authenticate",
    "HTTP2-Settings",
    "Forwarded",
    "X-Real-IP",
    "X_Forwarded_For",
    "x-forwarded-prefix",
    "X-Forwarded-Ssl",
  ])("drops %s", (name) => {
    expect(forwarded([name, "secret-value", "X-Kept", "yes"])).toMatchObject({ "x-kept": "yes" });
    expect(JSON.stringify(forwarded([name.toUpperCase(), "secret-value"]))).not.toContain("secret-value");
    expect(JSON.stringify(forwarded([name.toLowerCase(), "secret-value"]))).not.toContain("secret-value");
  });

  it("passes what is not the connection's on unchanged, in its order", () => {
    const given = [
      ["Authorization", "Basic YTpi"],
      ["X-Unknown", "1"],
      ["Referer", "http://a/b"],
      ["X-Unknown", "2"],
      ["If-Match", '"a"'],
      ["If-None-Match", 'W/"b"'],
      ["If-Modified-Since", "Sun, 06 Nov 1994 08:49:37 GMT"],
      ["If-Unmodified-Since", "x"],
      ["If-Range", '"c"'],
      ["Range", "pages=1-2"],
      ["Content-Location", "/c"],
      ["User-Agent", "a (b) c/1"],
      ["Accept-Encoding", "gzip;q=0.5,,br"],
      ["From", "a@b"],
      ["Cache-Control", "no-transform"],
    ].flat();
    const plain = new TestExchange({ headers: given, authority: "example.com" });
    const sent = requestFields(plain, 0, "pass", "upstream:1", false, "portico-1");
    expect(sent.slice(2, 2 + given.length)).toEqual(given);
  });

  it("drops what Connection names, whatever its case, but never what is ours", () => {
    const fields = forwarded(["Connection", "close, X-Hop ,HOST, via", "x-hop", "1", "X-End", "2"]);
    expect(fields["x-hop"]).toBeUndefined();
    expect(fields["x-end"]).toBe("2");
    expect(fields["host"]).toBe("example.com");
    expect(fields["via"]).toBe("1.1 portico-1");
  });

  it("drops a field named by a Connection of the length of keep-alive", () => {
    expect(forwarded(["Connection", "x-ten-long", "X-Ten-Long", "1"])["x-ten-long"]).toBeUndefined();
  });

  it("overwrites forwarded fields of strangers", () => {
    const fields = forwarded(["X-Forwarded-For", "1.2.3.4", "X-Forwarded-Proto", "https", "X-Request-Id", "evil"]);
    expect(fields).toMatchObject({
      "x-forwarded-for": "203.0.113.7",
      "x-forwarded-proto": "http",
      "x-request-id": "test-id",
    });
  });

  it("extends those of a trusted front", () => {
    const fields = forwarded(
      ["X-Forwarded-For", "1.2.3.4", "X-Forwarded-Host", "public.example", "Forwarded", "for=1.2.3.4"],
      {
        client: { vouchedBy: "forwarded", address: "1.2.3.4" },
      },
    );
    expect(fields).toMatchObject({
      "x-forwarded-for": "1.2.3.4, 127.0.0.1",
      "x-forwarded-host": "public.example",
      forwarded: "for=1.2.3.4",
    });
  });

  it("extends Via and says the version received", () => {
    expect(forwarded(["Via", "1.0 fred"], { version: "1.0" })["via"]).toBe("1.0 fred, 1.0 portico-1");
  });

  it("refuses a request that has come round too often, and counts no less than that", () => {
    const via = (hops: number): string => Array.from({ length: hops }, (_, at) => `1.1 hop-${at}`).join(", ");
    expect(forwarded(["Via", via(31)])["via"]).toBe(`${via(31)}, 1.1 portico-1`);
    expect(() => forwarded(["Via", via(32)])).toThrow(/32 intermediaries/);
    expect(() => forwarded(["Via", via(20), "Via", via(20)])).toThrow(expect.objectContaining({ status: 508 }));
  });

  it.each([
    ["OPTIONS", "5", "4"],
    ["TRACE", "1", "0"],
    ["TRACE", "99999999999999999999", "2147483647"],
    ["OPTIONS", "many", "many"],
    ["GET", "5", "5"],
  ])("lets %s with Max-Forwards %s go on with %s", (method, value, expected) =>
    expect(forwarded(["max-Forwards", value], { method })["max-forwards"]).toBe(expected),
  );

  it("adds no Max-Forwards", () => expect(forwarded([], { method: "OPTIONS" })["max-forwards"]).toBeUndefined());

  it("drops trailers that Connection names in the head, with those that belong to the connection", () => {
    const trailers = ["X-Hop", "1", "Keep-Alive", "2", "X-End", "3"];
    const named = namedByConnection(["X", "y", "connection", "close", "Connection", "x-hop"]);
    expect(trailerFields(trailers, named)).toEqual(["X-End", "3"]);
    expect(trailerFields(trailers, namedByConnection(["Connection", "close"]))).toEqual(["X-Hop", "1", "X-End", "3"]);
    expect(trailers).toHaveLength(6);
  });

  it("says the length that will be sent, once", () => {
    expect(forwarded(["Content-Length", "5"], { length: 5 })["content-length"]).toBe("5");
    expect(forwarded([], { length: 7 })["content-length"]).toBe("7");
    expect(forwarded(["Content-Length", "0"])["content-length"]).toBe("0");
    expect(forwarded([], { length: -1 })["content-length"]).toBeUndefined();
  });

  it("lets TE: trailers stand where the transport passes trailers on", () => {
    expect(forwarded(["TE", "gzip, trailers"], { trailers: true })["te"]).toBe("trailers");
    expect(forwarded(["TE", "gzip"], { trailers: true })["te"]).toBeUndefined();
  });

  it("calls a client on a unix socket unix:", () => {
    expect(forwarded([], { client: { address: "/run/x.sock", port: 0 } })["x-forwarded-for"]).toBe("unix:");
  });
});

describe("fields that are left to the worker", () => {
  const asked = (authority: string, client: Partial<ClientFacts>): Exchange => {
    const plain = new TestExchange({ headers: authority === "" ? [] : ["Host", authority], version: "1.1" });
    return Object.assign(plain, {
      head: { ...plain.head, authority },
      facts: { ...plain.facts, client: { address: "203.0.113.7", port: 1, vouchedBy: "socket", ...client } },
    });
  };

  it("are those that the facts say already, and no others", () => {
    const list = requestFields(asked("example.com", {}), 0, "pass", "u", true, "portico-1", true);
    expect(list).toEqual(["Via", "1.1 portico-1", "X-Forwarded-Port", "5000"]);
  });

  it("only where the peer is the client, gave a Host, and that goes on as it is", () => {
    expect(isDerivable(asked("example.com", {}), "pass")).toBe(true);
    expect(isDerivable(asked("example.com", { vouchedBy: "forwarded" }), "pass")).toBe(false);
    expect(isDerivable(asked("example.com", {}), { value: "other" })).toBe(false);
    expect(isDerivable(asked("example.com", { address: "/run/some.sock" }), "pass")).toBe(false);
    expect(isDerivable(asked("", {}), "pass")).toBe(false);
  });
});

describe("responseFields", () => {
  it("gives the same list where nothing stops here", () => {
    const list = ["Content-Type", "text/plain", "Content-Length", "3", "Set-Cookie", "a=b"];
    expect(responseFields(list).headers).toBe(list);
    expect(responseFields(list)).toMatchObject({ length: 3, streaming: false, contradictory: false });
  });

  it("passes what a server says of itself and its resource on unchanged, in its order", () => {
    const given = [
      ["WWW-Authenticate", 'Basic realm="a"'],
      ["WWW-Authenticate", "Bearer"],
      ["Allow", "GET, ,HEAD"],
      ["Vary", "Accept"],
      ["ETag", 'W/"a"'],
      ["Content-Range", "pages 1-2/3"],
      ["Location", "//b/c"],
      ["Date", "yesterday"],
      ["Server", "x/1"],
      ["Cache-Control", "no-transform"],
      ["Content-Encoding", "gzip, br"],
      ["Retry-After", "5"],
      ["Via", "1.1 b"],
    ].flat();
    const sent = responseFields([...given, "Connection", "close"]).headers;
    expect(sent).toEqual(given);
  });

  it("drops the connection's fields and those for us", () => {
    const { headers, streaming } = responseFields([
      "Connection",
      "X-Hop",
      "X-Hop",
      "1",
      "Keep-Alive",
      "timeout=5",
      "Transfer-Encoding",
      "chunked",
      "X-Accel-Redirect",
      "/secret",
      "X-Accel-Buffering",
      "no",
      "X-Accel-Limit-Rate",
      "1",
      "ETag",
      '"a"',
    ]);
    expect(headers).toEqual(["ETag", '"a"']);
    expect(streaming).toBe(true);
  });

  it("knows event streams", () => {
    expect(responseFields(["content-type", "Text/Event-Stream; charset=utf-8"]).streaming).toBe(true);
    expect(responseFields(["content-type", "text/event"]).streaming).toBe(false);
  });

  it.each([
    [["Content-Length", "3", "Content-Length", "3"]],
    [["Content-Length", "3, 3"]],
    [["Content-Length", "+3"]],
    [["Content-Length", ""]],
    [["Content-Length", "0x10"]],
  ])("calls %j contradictory", (list) => {
    expect(responseFields(list).contradictory).toBe(true);
  });
});
