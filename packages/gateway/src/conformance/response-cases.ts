import { BAD_REPLY_NAMES } from "./application.ts";
import { type ConformanceCase, conformanceCase, freshToken, holds, notesOf, pause, same } from "./case.ts";
import { ask, valueOf, Wire } from "./wire.ts";

/** More than the kernel's socket buffers and any bounded write-ahead together. */
const MORE_THAN_BUFFERS_BYTES = 48 << 20;

/** Which replies under `/bad/` are about which number. */
const BAD_BY_RULE: readonly (readonly [`T${string}`, RegExp, string])[] = [
  ["T5.1.1b", /^(?:undefined|number|string|null|other-object)$/, "what is no reply is refused"],
  ["T5.1.3", /^status-/, "a status that is none is refused"],
  ["T5.2.2", /^name-/, "a field name that is no token is refused"],
  ["T5.2.3", /^value-/, "a value that no field can carry is refused"],
  ["T5.2.4a", /^hop-/, "fields of the connection are refused"],
  ["T5.3.1", /^length-t/, "a malformed or repeated Content-Length is refused"],
  ["T5.3.2a", /^length-(?:more|less)$/, "a Content-Length that lies about a whole body is refused"],
  ["T5.4.1b", /^body-/, "what cannot be a body is refused"],
];

/** Body and type that each way to give one becomes. */
const BODIES: readonly (readonly [string, Buffer, string | undefined])[] = [
  ["string", Buffer.from("gr\u00fc\u00dfe"), "text/plain;charset=utf-8"],
  ["bytes", Buffer.from([0, 255, 10]), undefined],
  ["buffer", Buffer.from([1, 2, 3]), undefined],
  ["null", Buffer.alloc(0), undefined],
  ["absent", Buffer.alloc(0), undefined],
  ["stream", Buffer.from("onetwo"), undefined],
  ["iterable", Buffer.from("onetwo"), undefined],
  ["iterable-bytes", Buffer.from([1, 2]), undefined],
  ["iterable-empty", Buffer.alloc(0), undefined],
  ["blob", Buffer.from("blob"), "text/x-blob"],
  ["query", Buffer.from("a=1+2"), "application/x-www-form-urlencoded;charset=utf-8"],
  ["response-string", Buffer.from("text"), "text/plain;charset=utf-8"],
  ["response-bytes", Buffer.from([0, 255]), undefined],
  ["response-json", Buffer.from('{"a":1}'), "application/json"],
  ["response-null", Buffer.alloc(0), undefined],
  ["response-stream", Buffer.from("one"), undefined],
  ["promise", Buffer.from("later"), "text/plain;charset=utf-8"],
  ["large", Buffer.alloc(1 << 20, "x"), "text/plain;charset=utf-8"],
];

async function brokenOff(base: string, target: string, most: number): Promise<void> {
  const response = await ask(base, target);
  if (response.status === 500) return; // Seen before the head went out.
  holds(
    !response.complete || response.status === 502,
    `${target} came as complete: ${response.status} ${response.body.toString()}`,
  );
  holds(response.status === 502 || response.body.length <= most, `${target} gave ${response.body.length} bytes`);
}

/** Section 5: the response. */
export const responseCases: readonly ConformanceCase[] = [
  conformanceCase("T5.1.1a", "a Response, a record and promises of either are replies", async (base) => {
    for (const name of ["response-string", "string", "promise"])
      same((await ask(base, `/body/${name}`)).status, 200, `status of ${name}`);
    const redirect = await ask(base, "/body/response-redirect");
    same([redirect.status, valueOf(redirect.fields, "location")], [302, "http://example.com/there"], "redirect");
  }),
  conformanceCase("T5.1.2", "a record without status is 200", async (base) => {
    same((await ask(base, "/body/absent")).status, 200, "status");
  }),
  ...BAD_BY_RULE.map(([id, pattern, title]) =>
    conformanceCase(id, title, async (base) => {
      for (const name of BAD_REPLY_NAMES.filter((candidate) => pattern.test(candidate))) {
        const response = await ask(base, `/bad/${name}`);
        same(response.status, 500, `status for the reply ${name}`);
      }
    }),
  ),
  conformanceCase("T5.1.4", "nothing of a refused reply is sent", async (base) => {
    for (const name of BAD_REPLY_NAMES) {
      const response = await ask(base, `/bad/${name}`);
      const names = response.fields.map(([field]) => field.toLowerCase());
      holds(!names.includes("x-a") && !names.includes("set-cookie"), `fields of ${name} were sent: ${names.join()}`);
      holds(!response.body.includes("12345"), `the body of ${name} was sent`);
    }
  }),
  conformanceCase("T5.2.1", "fields are taken in every form, and repeated ones stay apart", async (base) => {
    for (const form of ["object", "pairs", "flat", "headers", "response"]) {
      const { fields } = await ask(base, `/headers/${form}`);
      same(valueOf(fields, "x-a"), "1", `x-a as ${form}`);
      const cookies = fields.filter(([name]) => name.toLowerCase() === "set-cookie").map(([, value]) => value);
      same(cookies, ["a=1", "b=2"], `set-cookie as ${form}`);
    }
    same(valueOf((await ask(base, "/headers/object")).fields, "x-n"), "2", "a number as value");
  }),
  conformanceCase("T5.2.4b", "fields of the connection that frameworks put on a Response are dropped", async (base) => {
    const response = await ask(base, "/headers/framework");
    same([response.status, response.complete, response.body.toString()], [200, true, "framed"], "response");
    same(valueOf(response.fields, "x-a"), "1", "x-a");
  }),
  conformanceCase("T5.2.5", "the Content-Type is the one that fetch gives", async (base) => {
    for (const [name, , type] of BODIES) {
      const { fields } = await ask(base, `/body/${name}`);
      const seen = valueOf(fields, "content-type")?.toLowerCase().replaceAll(" ", "");
      same(seen, type, `Content-Type of ${name}`);
    }
  }),
  conformanceCase("T5.2.6", "values beyond ASCII are latin1", async (base) => {
    same(valueOf((await ask(base, "/headers/latin1")).fields, "x-a"), "gr\u00fc\u00dfe", "x-a");
  }),
  conformanceCase("T5.3.2b", "a stream shorter than its Content-Length is broken off", (base) =>
    brokenOff(base, "/length/stream-short", 6),
  ),
  conformanceCase("T5.3.2c", "a stream longer than its Content-Length is broken off", async (base) => {
    const wire = new Wire(base);
    wire.head("GET", "/length/stream-long", [], true);
    const response = await wire.response();
    wire.leave();
    // The declared bytes may have come; then the connection must not be used for more.
    holds(
      response.status === 500 || response.status === 502 || response.body.length <= 4,
      `${response.body.length} bytes came`,
    );
  }),
  conformanceCase("T5.3.2d", "a stream as long as its Content-Length is sent", async (base) => {
    const response = await ask(base, "/length/stream-exact");
    same([response.status, response.complete, response.body.toString()], [200, true, "onetwo"], "response");
  }),
  conformanceCase("T5.3.3", "a whole body has its Content-Length", async (base) => {
    for (const [name, length] of [
      ["string", "7"],
      ["bytes", "3"],
      ["null", "0"],
    ] as const) {
      same(valueOf((await ask(base, `/body/${name}`)).fields, "content-length"), length, `Content-Length of ${name}`);
    }
  }),
  conformanceCase("T5.4.1a", "every kind of body is sent as it is", async (base) => {
    for (const [name, body] of BODIES) {
      const response = await ask(base, `/body/${name}`);
      same([response.status, response.complete], [200, true], `status of ${name}`);
      holds(response.body.equals(body), `body of ${name} is ${response.body.subarray(0, 40).toString("hex")}`);
    }
  }),
  conformanceCase("T5.4.2a", "HEAD is answered without body, with the length that GET has", async (base) => {
    const response = await ask(base, "/body/string", { method: "HEAD" });
    same([response.status, response.body.length], [200, 0], "status and length");
    const length = valueOf(response.fields, "content-length");
    holds(length === undefined || length === "7", `Content-Length is ${length}`);
    const streamed = await ask(base, "/body/iterable", { method: "HEAD" });
    const declared = valueOf(streamed.fields, "content-length");
    holds(declared === undefined || declared === "6", `Content-Length of a stream is ${declared}`);
  }),
  conformanceCase("T5.4.2b", "204, 205 and 304 have no body", async (base) => {
    for (const status of [204, 205, 304]) {
      const wire = new Wire(base);
      wire.head("GET", `/status?status=${status}&body=body`, [], true);
      const first = await wire.response();
      same([first.status, first.body.length], [status, 0], "status and length");
      if (status === 204) same(valueOf(first.fields, "content-length"), undefined, "Content-Length of 204");
      wire.head("GET", "/body/string");
      same((await wire.response()).body.toString(), "gr\u00fc\u00dfe", `body of the response after ${status}`);
      wire.leave();
    }
  }),
  conformanceCase("T5.4.3", "a Response that was read is refused", async (base) => {
    same((await ask(base, "/used")).status, 500, "status");
  }),
  conformanceCase("T5.4.4", "a stream that fails is broken off", (base) => brokenOff(base, "/stream-fails", 3)),
  conformanceCase("T5.5.1a", "an async iterator is closed when the client leaves", async (base) => {
    const token = freshToken();
    const wire = new Wire(base);
    wire.head("GET", `/endless?token=${token}`);
    await wire.nextHead();
    wire.leave();
    same(await notesOf(base, token, 1), ["closed"], "notes");
  }),
  conformanceCase("T5.5.1b", "a ReadableStream is cancelled with the reason when the client leaves", async (base) => {
    const token = freshToken();
    const wire = new Wire(base);
    wire.head("GET", `/endless-stream?token=${token}`);
    await wire.nextHead();
    wire.leave();
    same(await notesOf(base, token, 1), ["cancelled CLIENT_DISCONNECTED"], "notes");
  }),
  conformanceCase(
    "T5.5.2",
    "a client that does not read stops the stream",
    async (base) => {
      const token = freshToken();
      const wire = new Wire(base);
      wire.head("GET", `/endless?token=${token}`);
      await wire.nextHead();
      wire.stall();
      let before = -1;
      let made = 0;
      for (let round = 0; round < 40 && made !== before && made < MORE_THAN_BUFFERS_BYTES; round += 1) {
        before = made;
        await pause(100);
        made = Number((await notesOf(base, `${token}-made`, 1))[0]);
      }
      wire.leave();
      holds(made < MORE_THAN_BUFFERS_BYTES, `${made} bytes were taken from a stream that nobody reads`);
    },
    { direct: true },
  ),
  conformanceCase("T5.5.3", "a part is sent before the next one is there", async (base) => {
    const token = freshToken();
    const wire = new Wire(base);
    wire.head("GET", `/drip?token=${token}`);
    await wire.nextHead();
    const size = await wire.line();
    same([size, (await wire.take(5)).toString()], ["5", "first"], "first chunk");
    await ask(base, `/release?token=${token}`);
    await wire.line();
    await wire.line();
    same((await wire.take(6)).toString(), "second", "second chunk");
    wire.leave();
  }),
  conformanceCase("T5.5.4", "the head is sent before the first part is there", async (base) => {
    const token = freshToken();
    const wire = new Wire(base);
    wire.head("GET", `/late-first?token=${token}`);
    const head = await wire.nextHead();
    same([head?.status, valueOf(head?.fields ?? [], "x-early")], [200, "yes"], "head");
    await ask(base, `/release?token=${token}`);
    await wire.line();
    same((await wire.take(5)).toString(), "first", "part");
    wire.leave();
  }),
  conformanceCase(
    "T5.6.1",
    "early hints come before the response",
    async (base) => {
      const response = await ask(base, "/early-hints");
      same(
        response.interim.map((head) => [head.status, valueOf(head.fields, "link")]),
        [[103, "</style.css>; rel=preload"]],
        "interim responses",
      );
      same([response.status, response.body.toString()], [200, "after the hints"], "response");
    },
    { capability: "earlyHints" },
  ),
  conformanceCase(
    "T5.6.2",
    "trailers come after the body",
    async (base) => {
      for (const [target, body, sum] of [
        ["/trailers", "body", "given"],
        ["/trailers/computed", "onetwo", "6"],
      ] as const) {
        const wire = new Wire(base);
        wire.head(
          "GET",
          target,
          [
            ["TE", "trailers"],
            ["Connection", "TE"],
          ],
          true,
        );
        const response = await wire.response();
        wire.leave();
        same(
          [response.body.toString(), valueOf(response.trailers, "x-sum")],
          [body, sum],
          `body and trailer of ${target}`,
        );
      }
    },
    { capability: "trailers", direct: true },
  ),
  conformanceCase(
    "T5.6.3",
    "ctx.buffering(false) is said to the front",
    async (base) => {
      same(valueOf((await ask(base, "/buffering")).fields, "x-accel-buffering"), "no", "X-Accel-Buffering");
    },
    { capability: "buffering", direct: true },
  ),
  conformanceCase(
    "T5.6.4",
    "early hints after the reply throw TOO_LATE",
    async (base) => {
      const token = freshToken();
      await ask(base, `/too-late?token=${token}`);
      same(await notesOf(base, token, 1), ["TOO_LATE"], "notes");
    },
    { capability: "earlyHints" },
  ),
];
