import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makeLightResponses } from "./globals.ts";
import { LightResponse } from "./light-response.ts";
import { draftOf } from "./reply.ts";

const RealResponse = globalThis.Response;

beforeEach(() => makeLightResponses());
afterEach(() => {
  globalThis.Response = RealResponse;
});

/** What one can see of a response. */
async function shown(response: Response): Promise<unknown> {
  const { status, statusText, ok, type, redirected, url } = response;
  return {
    status,
    statusText,
    ok,
    type,
    redirected,
    url,
    headers: [...response.headers],
    text: await response.text(),
    used: response.bodyUsed,
  };
}

const MADE: readonly (readonly [body: string | Uint8Array<ArrayBuffer> | null | undefined, init?: ResponseInit])[] = [
  ["text"],
  [null],
  [undefined],
  [new Uint8Array([1, 2, 3])],
  ["text", { status: 404 }],
  ["text", { headers: { "X-A": "1", "content-type": "text/html" } }],
  [
    "text",
    {
      headers: new Headers([
        ["set-cookie", "a=1"],
        ["set-cookie", "b=2"],
      ]),
    },
  ],
  ["text", { headers: [["x-a", "1"]] }],
  ["text", { statusText: "Fine" }],
  [null, { status: 204 }],
];

describe("light responses", () => {
  for (const [body, init] of MADE) {
    it(`are like real ones: ${String(body)} ${JSON.stringify(init)}`, async () => {
      expect(await shown(new Response(body, init))).toEqual(await shown(new RealResponse(body, init)));
      expect(await shown(new Response(body, init).clone())).toEqual(await shown(new RealResponse(body, init)));
      const [light, real] = [draftOf(new Response(body, init), "GET"), draftOf(new RealResponse(body, init), "GET")];
      expect([light.status, new Map(pairs(light.headers))]).toEqual([real.status, new Map(pairs(real.headers))]);
    });
  }

  it("are made where they can be, and hold instanceof", () => {
    expect(LightResponse.partsOf(new Response("text"))?.body).toBe("text");
    expect(LightResponse.partsOf(new Response(new Blob(["text"]).stream()))).toBe(undefined);
    expect([new Response("text") instanceof Response, new Response("text") instanceof RealResponse]).toEqual([
      true,
      true,
    ]);
    class Mine extends Response {}
    expect(new Mine("text") instanceof Mine).toBe(true);
  });

  it("throw what real ones throw", () => {
    for (const [body, init] of [
      ["text", { status: 204 }],
      ["text", { status: 99 }],
      ["text", { headers: { "a b": "c" } }],
      ["text", { headers: { a: "\n\0" } }],
    ] as const) {
      expect(() => new RealResponse(body, init)).toThrow();
      expect(() => new Response(body, init)).toThrow();
    }
  });

  it("copy what they are made of", async () => {
    const bytes = new Uint8Array([1]);
    const headers = new Headers({ a: "1" });
    const response = new Response(bytes, { headers });
    bytes[0] = 2;
    headers.set("a", "2");
    expect([response.headers.get("a"), (await response.bytes())[0]]).toEqual(["1", 1]);
  });

  it("send what became of their headers", async () => {
    const response = new Response("text");
    response.headers.set("x-a", "1");
    response.headers.delete("content-type");
    expect(draftOf(response, "GET")).toMatchObject({ headers: ["x-a", "1"], whole: "text" });
    expect([...response.clone().headers]).toEqual([["x-a", "1"]]);
    response.headers.set("x-b", "2");
    expect(new Response(response.body, response).headers.get("x-b")).toBe("2");
  });
});

function pairs(list: string[]): [string, string][] {
  return list.flatMap((part, at) =>
    at % 2 === 0 ? [[part.toLowerCase(), list[at + 1] as string] as [string, string]] : [],
  );
}
