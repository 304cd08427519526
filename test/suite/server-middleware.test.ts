/**
 * An Express program with the middleware that most have (sessions, compression, uploads, events), unmodified, over each
 * way to it: HTTP over TCP and unix, both tiers over the link, and behind nginx. All must see the same.
 */
import { createHash, randomBytes } from "node:crypto";
import { request as httpRequest, type IncomingMessage } from "node:http";
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { fronts, type Way } from "../support/ways.ts";

const MIB = 1024 * 1024;
const LONG = process.env["PORTICO_LONG"] === "1";
/** 1 GiB takes its time; what it shows shows at 64 MiB as well, if less plainly. */
const UPLOAD_BYTES = LONG ? 1024 * MIB : 64 * MIB;
/** What a worker may hold at most, upload or not: Node, Express and their garbage. */
const MOST_RSS = 260 * MIB;
const UPLOAD_PATIENCE_MS = 300_000;

describe.each(fronts)("$name", (front) => {
  let way: Way;
  beforeAll(async () => {
    way = await front.start("middleware.cjs");
  });
  afterAll(async () => {
    await way?.[Symbol.asyncDispose]();
  });

  test("the client is who it is, and nobody is believed who is no front", async () => {
    const told = { "x-forwarded-for": "203.0.113.9", "x-forwarded-proto": "https", forwarded: "for=203.0.113.9" };
    const { json } = await way.ask("/who", { headers: told });
    // Where the server stands alone, this test is the front it trusts; where there is one, it speaks for nobody else.
    const trusted = !front.hasFront;
    expect(json).toMatchObject({
      remoteAddress: trusted ? "203.0.113.9" : "127.0.0.1",
      ip: trusted ? "203.0.113.9" : "127.0.0.1",
      protocol: trusted ? "https" : "http",
      secure: trusted,
      encrypted: trusted,
    });
  });

  test("a session is kept by its cookie", async () => {
    const first = await way.ask("/visits");
    expect(first.json).toEqual({ visits: 1 });
    const [cookie = ""] = first.headers["set-cookie"] ?? [];
    expect(cookie).toMatch(/^connect\.sid=/);
    expect((await way.ask("/visits", { headers: { cookie: cookie.split(";")[0]! } })).json).toEqual({ visits: 2 });
  });

  test("a response is compressed once, and is the same", async () => {
    const { headers, body } = await way.ask("/text", { headers: { "accept-encoding": "gzip" } });
    expect(headers["content-encoding"]).toBe("gzip");
    const { gunzipSync } = await import("node:zlib");
    expect(gunzipSync(body).toString()).toBe("a text to compress\n".repeat(5_000));
    const plain = await way.ask("/text");
    expect([plain.headers["content-encoding"], plain.body.length]).toEqual([undefined, 19 * 5_000]);
  });

  test("each event arrives before the next is made", async () => {
    const events = await way.open("/events", {
      headers: { "accept-encoding": "identity", accept: "text/event-stream" },
    });
    let seen = "";
    let number = 1;
    for await (const chunk of events) {
      seen += String(chunk);
      if (number === 3 || !seen.includes(`data: ${number}\n\n`)) continue;
      number += 1;
      expect((await way.ask("/events/next", { method: "POST" })).status).toBe(204);
    }
    expect(seen).toBe("data: 1\n\ndata: 2\n\ndata: 3\n\n");
  });

  test.each(["multer", "busboy"])(
    `an upload of ${UPLOAD_BYTES / MIB} MiB through %s is whole, in constant memory`,
    async (parser) => {
      const { sha1, json } = await upload(`/${parser}`);
      expect(json).toMatchObject({
        size: UPLOAD_BYTES,
        sha1,
        originalname: "a file.bin",
        mimetype: "application/x-thing",
        field: "välue",
      });
      expect((json as { peak: number }).peak).toBeLessThan(MOST_RSS);
    },
    UPLOAD_PATIENCE_MS,
  );

  async function upload(path: string): Promise<{ sha1: string; json: unknown }> {
    const boundary = "a-boundary-of-the-test";
    const head = Buffer.from(
      `--${boundary}\r\nContent-Disposition: form-data; name="field"\r\n\r\nvälue\r\n` +
        `--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="a file.bin"\r\nContent-Type: application/x-thing\r\n\r\n`,
    );
    const tail = Buffer.from(`\r\n--${boundary}--\r\n`);
    const length = head.length + UPLOAD_BYTES + tail.length;
    const request = httpRequest({
      ...way.target,
      path,
      method: "POST",
      headers: { "content-type": `multipart/form-data; boundary=${boundary}`, "content-length": length },
    });
    const answered = once(request, "response") as Promise<[IncomingMessage]>;
    answered.catch(() => {});
    request.write(head);
    const hash = createHash("sha1");
    const piece = randomBytes(MIB);
    for (let sent = 0; sent < UPLOAD_BYTES; sent += piece.length) {
      hash.update(piece);
      if (!request.write(piece)) await Promise.race([once(request, "drain"), answered]);
    }
    request.end(tail);
    const [response] = await answered;
    const text = Buffer.concat(await response.toArray()).toString();
    expect([response.statusCode, text.slice(0, 200)]).toEqual([200, expect.stringContaining("sha1")]);
    return { sha1: hash.digest("hex"), json: JSON.parse(text) };
  }
});
