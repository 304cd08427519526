import { type ConformanceCase, conformanceCase, freshToken, notesOf, same } from "./case.ts";
import { ask, valueOf, type WireResponse } from "./wire.ts";

/** What the kit's application has in its file. */
const FILE = Buffer.alloc(200_000, "0123456789abcdef");

type Fields = readonly (readonly [string, string])[];

const file = (base: string, fields: Fields = [], method = "GET"): Promise<WireResponse> =>
  ask(base, "/file", { fields, method });

/** Section 5.7: what the front does, or the host where there is none. */
export const frontCases: readonly ConformanceCase[] = [
  conformanceCase(
    "T5.7.1",
    "a file is sent whole, with its length, validators and the fields given",
    async (base) => {
      const whole = await file(base);
      same([whole.status, whole.body.equals(FILE)], [200, true], "status and whether the bytes are those of the file");
      same(
        [
          valueOf(whole.fields, "content-length"),
          valueOf(whole.fields, "content-type"),
          valueOf(whole.fields, "accept-ranges"),
          valueOf(whole.fields, "etag") !== undefined,
          !Number.isNaN(Date.parse(valueOf(whole.fields, "last-modified") ?? "")),
        ],
        [String(FILE.length), "application/x-kit", "bytes", true, true],
        "fields",
      );
      const head = await file(base, [], "HEAD");
      same(
        [head.status, valueOf(head.fields, "content-length"), head.body.length],
        [200, String(FILE.length), 0],
        "answer to HEAD",
      );
      same((await ask(base, "/file?missing")).status, 404, "status of a file that is not there");
      same((await ask(base, "/file?folder")).status, 404, "status of a folder");
    },
    { capability: "file" },
  ),
  conformanceCase(
    "T5.7.2",
    "ranges of a file are sent",
    async (base) => {
      for (const [range, from, to] of [
        ["bytes=0-9", 0, 10],
        ["bytes=199990-", 199_990, 200_000],
        ["bytes=-5", 199_995, 200_000],
        ["bytes=10-999999", 10, 200_000],
      ] as const) {
        const part = await file(base, [["Range", range]]);
        same(
          [part.status, valueOf(part.fields, "content-range"), part.body.equals(FILE.subarray(from, to))],
          [206, `bytes ${from}-${to - 1}/${FILE.length}`, true],
          `answer to ${range}`,
        );
      }
      const beyond = await file(base, [["Range", "bytes=200000-"]]);
      same(
        [beyond.status, valueOf(beyond.fields, "content-range")],
        [416, `bytes */${FILE.length}`],
        "a range beyond the end",
      );
      for (const range of ["bytes=9-0", "lines=1-2", "bytes=a-b"]) {
        const whole = await file(base, [["Range", range]]);
        same([whole.status, whole.body.length], [200, FILE.length], `answer to ${range}`);
      }
    },
    { capability: "file" },
  ),
  conformanceCase(
    "T5.7.3",
    "conditions are held against the validators",
    async (base) => {
      const { fields } = await file(base);
      const etag = valueOf(fields, "etag") ?? "";
      const date = valueOf(fields, "last-modified") ?? "";
      const strong = etag.replace(/^W\//, "");
      const statusOf = async (...given: Fields): Promise<number> => (await file(base, given)).status;
      same(
        [
          await statusOf(["If-None-Match", etag]),
          await statusOf(["If-None-Match", `"other", ${etag}`]),
          await statusOf(["If-None-Match", '"other"']),
          await statusOf(["If-Modified-Since", date]),
          await statusOf(["If-None-Match", '"other"'], ["If-Modified-Since", date]),
          await statusOf(["If-Match", '"other"']),
          await statusOf(["If-Unmodified-Since", "Thu, 01 Jan 1970 00:00:00 GMT"]),
          await statusOf(["Range", "bytes=0-1"], ["If-Range", '"other"']),
          await statusOf(["Range", "bytes=0-1"], ["If-Range", strong === etag ? etag : date]),
        ],
        [304, 304, 200, 304, 200, 412, 412, 200, 206],
        "statuses",
      );
    },
    { capability: "file" },
  ),
  conformanceCase(
    "T5.7.4",
    "an internal redirect is said to the front, without a body",
    async (base) => {
      const { status, fields, body } = await ask(base, "/redirect");
      same(
        [status, valueOf(fields, "x-accel-redirect"), valueOf(fields, "x-kept"), body.length],
        [200, "/body/string?a=%20b", "yes", 0],
        "response",
      );
    },
    { capability: "internalRedirect", direct: true },
  ),
  conformanceCase(
    "T5.7.5",
    "ctx.compress(false) is said to the front",
    async (base) => {
      same(valueOf((await ask(base, "/compress")).fields, "cache-control"), "private, no-transform", "Cache-Control");
    },
    { capability: "compress" },
  ),
  conformanceCase(
    "T5.7.6",
    "tags and times are said to the cache",
    async (base) => {
      const { fields } = await ask(base, "/cached");
      same(
        [valueOf(fields, "cache-tag"), valueOf(fields, "cdn-cache-control")],
        ["a,b", "max-age=60, stale-while-revalidate=30"],
        "fields",
      );
    },
    { capability: "cache", direct: true },
  ),
  conformanceCase(
    "T5.7.7",
    "a purge is said to the cache, and done when the response is out",
    async (base) => {
      const token = freshToken();
      const { fields } = await ask(base, `/purges?token=${token}`);
      same(
        valueOf(fields, "x-portico-purge"),
        String.raw`"/a\"b";url;soft, "/c/";prefix;soft, "news";tag`,
        "X-Portico-Purge",
      );
      same(await notesOf(base, token, 1), ["purged"], "notes");
    },
    { capability: "cache", direct: true },
  ),
];
