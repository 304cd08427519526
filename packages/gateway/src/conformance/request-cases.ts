import { createHash } from "node:crypto";
import { askJson, type ConformanceCase, conformanceCase, freshToken, holds, notesOf, pause, same } from "./case.ts";
import { ask, Wire } from "./wire.ts";

/** More than the kernel's socket buffers and any bounded read-ahead together. */
const MORE_THAN_BUFFERS_BYTES = 64 << 20;
const MIB = 1 << 20;

const EXPECT: readonly [string, string] = ["Expect", "100-continue"];

interface RequestFacts {
  readonly url: string;
  readonly [name: string]: unknown;
}

function bytes(length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, at) => at % 251));
}

function digest(body: Buffer): string {
  return createHash("sha256").update(body).digest("hex");
}

/** Section 4: the request. */
export const requestCases: readonly ConformanceCase[] = [
  conformanceCase("T4.1.1", "the request is a Request, its headers are Headers", async (base) => {
    const facts = (await askJson(base, "/request", {
      fields: [
        ["x-b", "2"],
        ["X-A", "1"],
      ],
    })) as RequestFacts;
    same(
      [facts["instance"], facts["headersInstance"], facts["method"], facts["redirect"]],
      [true, true, "GET", "follow"],
      "members",
    );
    const all = (facts["all"] as [string, string][]).filter(([name]) => name === "x-a" || name === "x-b");
    same(
      all,
      [
        ["x-a", "1"],
        ["x-b", "2"],
      ],
      "all fields",
    );
  }),
  conformanceCase("T4.1.2", "the URL is absolute and as the standard writes it", async (base) => {
    for (const target of [
      "/request?a=1",
      "/request",
      "/x/../request?q=%C3%BC'",
      "/./request",
      "/%2e/request?a b=c".replace(" ", "%20"),
    ]) {
      const facts = (await askJson(base, target)) as RequestFacts;
      same(facts.url, new URL(target, base).href, "url");
    }
  }),
  conformanceCase("T4.1.3", "fields are found in any case, and repeated ones are joined", async (base) => {
    const facts = (await askJson(base, "/request", {
      fields: [
        ["x-A", "1"],
        ["X-a", "2"],
      ],
    })) as RequestFacts;
    same(facts["a"], "1, 2", "headers.get('X-A')");
  }),
  conformanceCase("T4.1.4a", "new Request(request, init) has method, body and new fields", async (base) => {
    const again = await askJson(base, "/request/again", { method: "POST", body: "text" });
    same(again, { method: "POST", again: "yes", text: "text", used: true }, "the new request");
  }),
  conformanceCase("T4.1.4b", "request.clone() reads the same body", async (base) => {
    same(await askJson(base, "/request/clone", { method: "POST", body: "text" }), ["text", "text"], "texts");
  }),
  conformanceCase("T4.1.5", "GET has no body, an empty POST neither", async (base) => {
    same(((await askJson(base, "/request")) as RequestFacts)["body"], "null", "body of GET");
    same(
      ((await askJson(base, "/request", { method: "POST" })) as RequestFacts)["body"],
      "null",
      "body of POST without body",
    );
    same(
      ((await askJson(base, "/request", { method: "POST", body: "x" })) as RequestFacts)["body"],
      "stream",
      "body of POST",
    );
  }),
  conformanceCase("T4.2.1a", "a body of known length arrives as sent, whole and as stream", async (base) => {
    for (const length of [0, 1, 16_384, 65_537, MIB]) {
      const body = bytes(length);
      const echoed = await ask(base, "/echo", { method: "POST", body });
      same(digest(echoed.body), digest(body), `digest of ${length} bytes, echoed`);
      const read = (await askJson(base, "/digest", { method: "PUT", body })) as { bytes: number; digest: string };
      same(read, { bytes: length, digest: digest(body) }, `digest of ${length} bytes, streamed`);
    }
  }),
  conformanceCase("T4.2.1b", "a chunked body arrives as sent", async (base) => {
    const wire = new Wire(base);
    wire.head("POST", "/echo", [["Transfer-Encoding", "chunked"]]);
    for (const part of ["one", "two", "x".repeat(10_000)]) {
      wire.send(`${part.length.toString(16)}\r\n${part}\r\n`);
      await pause(5);
    }
    wire.send("0\r\n\r\n");
    const response = await wire.response();
    wire.leave();
    same(response.body.toString(), `onetwo${"x".repeat(10_000)}`, "echo");
  }),
  conformanceCase("T4.2.1c", "a body goes through as a stream", async (base) => {
    const body = bytes(300_000);
    same(digest((await ask(base, "/echo/stream", { method: "POST", body })).body), digest(body), "digest");
  }),
  conformanceCase("T4.2.2", "a body is read once", async (base) => {
    const seen = await askJson(base, "/request/twice", { method: "POST", body: "text" });
    same(seen, { text: "text", second: "rejected", used: true }, "readings");
  }),
  conformanceCase("T4.2.3a", "100 Continue is sent when the body is read", async (base) => {
    const wire = new Wire(base);
    wire.head("POST", "/echo", [["Content-Length", "4"], EXPECT]);
    same((await wire.nextHead())?.status, 100, "first status");
    wire.send("text");
    same((await wire.response()).body.toString(), "text", "echo");
    wire.leave();
  }),
  conformanceCase(
    "T4.2.3b",
    "100 Continue is not sent when the body is not read",
    async (base) => {
      const wire = new Wire(base);
      wire.head("POST", "/refuse", [["Content-Length", "4"], EXPECT]);
      same((await wire.nextHead())?.status, 403, "first status");
      wire.leave();
    },
    { direct: true },
  ),
  conformanceCase(
    "T4.2.4",
    "an unread body stops the client",
    async (base) => {
      const token = freshToken();
      const wire = new Wire(base);
      wire.head("POST", `/unread?token=${token}`, [["Content-Length", String(MORE_THAN_BUFFERS_BYTES)]]);
      const part = bytes(MIB);
      let taken = 0;
      let stalls = 0;
      while (taken < MORE_THAN_BUFFERS_BYTES && stalls < 20) {
        if (wire.send(part)) stalls = 0;
        else stalls += 1;
        taken += MIB;
        await pause(10);
      }
      wire.leave();
      await ask(base, `/release?token=${token}`);
      holds(taken < MORE_THAN_BUFFERS_BYTES, `${taken} bytes of an unread body were taken`);
    },
    { direct: true },
  ),
  conformanceCase(
    "T4.2.5",
    "a body that breaks off is not taken for whole",
    async (base) => {
      const token = freshToken();
      const wire = new Wire(base);
      wire.head("POST", `/truncated?token=${token}`, [["Content-Length", "10"]]);
      wire.send("12345");
      await notesOf(base, token, 1);
      wire.leave();
      same((await notesOf(base, token, 2))[1], "rejected CLIENT_DISCONNECTED", "reading");
    },
    { direct: true },
  ),
  conformanceCase("T4.2.6", "JSON and forms are parsed", async (base) => {
    const fields: [string, string][] = [["Content-Type", "application/json"]];
    same(await askJson(base, "/request/json", { method: "POST", body: '{"a":[1]}', fields }), { a: [1] }, "JSON");
    const form: [string, string][] = [["Content-Type", "application/x-www-form-urlencoded"]];
    same(
      await askJson(base, "/request/form", { method: "POST", body: "a=1&b=%C3%BC", fields: form }),
      [
        ["a", "1"],
        ["b", "\u00fc"],
      ],
      "form",
    );
    const multipart = '--x\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n\r\ndata\r\n--x--\r\n';
    const type: [string, string][] = [["Content-Type", "multipart/form-data; boundary=x"]];
    same(
      await askJson(base, "/request/form", { method: "POST", body: multipart, fields: type }),
      [["f", "a.txt"]],
      "multipart form",
    );
    same(
      (await ask(base, "/request/json", { method: "POST", body: "{", fields })).status,
      500,
      "status for broken JSON that nobody handles",
    );
  }),
  conformanceCase(
    "T4.3.1",
    "trailers of the request are given when its body was read",
    async (base) => {
      const wire = new Wire(base);
      wire.head("POST", "/request-trailers", [
        ["Transfer-Encoding", "chunked"],
        ["Trailer", "X-Sum"],
      ]);
      wire.send("4\r\ntext\r\n0\r\nX-Sum: 42\r\n\r\n");
      const response = await wire.response();
      wire.leave();
      same(JSON.parse(response.body.toString()), { text: "text", trailers: [["x-sum", "42"]] }, "body and trailers");
      const none = await askJson(base, "/request-trailers", { method: "POST", body: "text" });
      same(none, { text: "text", trailers: [] }, "body without trailers");
    },
    { capability: "requestTrailers", direct: true },
  ),
  conformanceCase("T4.5.1", "a body beyond the limit is 413", async (base) => {
    same((await ask(base, "/limited", { method: "POST", body: "0123456789" })).status, 200, "status at the limit");
    same((await ask(base, "/limited", { method: "POST", body: "0123456789a" })).status, 413, "status beyond the limit");
    const wire = new Wire(base);
    wire.head("POST", "/limited", [["Transfer-Encoding", "chunked"]]);
    wire.send("6\r\n012345\r\n6\r\n012345\r\n0\r\n\r\n");
    same((await wire.response()).status, 413, "status beyond the limit, chunked");
    wire.leave();
  }),
  conformanceCase("T4.5.2", "a limit is not raised without the capability", async (base) => {
    const spec = (await askJson(base, "/spec")) as { capabilities: { raiseLimits: boolean } };
    same((await ask(base, "/raise")).body.toString(), spec.capabilities.raiseLimits ? "raised" : "BAD_LIMIT", "result");
  }),
];
