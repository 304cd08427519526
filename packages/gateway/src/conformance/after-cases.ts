import { type ConformanceCase, conformanceCase, freshToken, notesOf, pause, same } from "./case.ts";
import { ask, valueOf, Wire } from "./wire.ts";

/** Key and accept of RFC 6455 §1.3. */
const KEY = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const UPGRADE: readonly (readonly [string, string])[] = [
  ["Connection", "Upgrade"],
  ["Upgrade", "websocket"],
  ["Sec-WebSocket-Version", "13"],
  ["Sec-WebSocket-Key", KEY],
];

/** Sections 6 and 7: upgrades, and what comes after the response. */
export const afterCases: readonly ConformanceCase[] = [
  conformanceCase(
    "T6.1.1",
    "an upgrade is accepted with the right key and fields",
    async (base) => {
      const wire = new Wire(base);
      wire.head("GET", "/ws/echo", UPGRADE, true);
      const head = await wire.nextHead();
      wire.leave();
      same(head?.status, 101, "status");
      const fields = head?.fields ?? [];
      same(
        [
          valueOf(fields, "sec-websocket-accept"),
          valueOf(fields, "upgrade")?.toLowerCase(),
          valueOf(fields, "x-accepted"),
        ],
        [ACCEPT, "websocket", "yes"],
        "fields",
      );
    },
    { capability: "upgrade" },
  ),
  conformanceCase(
    "T6.1.2",
    "bytes pass the tunnel unchanged, also those sent with the head, and after one half ended",
    async (base) => {
      const wire = new Wire(base);
      wire.head("GET", "/ws/echo", UPGRADE, true);
      wire.send("early");
      await wire.nextHead();
      same((await wire.take(5)).toString(), "early", "echo of the bytes sent with the head");
      const bytes = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, at) => at % 256));
      wire.send(bytes);
      const echo = await wire.take(bytes.length);
      same(echo.equals(bytes), true, "echo is the same");
      wire.send("last");
      wire.finish();
      same((await wire.take(4)).toString(), "last", "echo after our half ended");
      wire.leave();
    },
    { capability: "upgrade" },
  ),
  conformanceCase(
    "T6.1.3",
    "an application can write the handshake itself",
    async (base) => {
      const wire = new Wire(base);
      wire.head("GET", "/ws/own", UPGRADE, true);
      const head = await wire.nextHead();
      same(
        [head?.status, valueOf(head?.fields ?? [], "sec-websocket-accept"), valueOf(head?.fields ?? [], "x-own")],
        [101, ACCEPT, "yes"],
        "head",
      );
      wire.send("bytes");
      same((await wire.take(5)).toString(), "bytes", "echo");
      wire.leave();
    },
    { capability: "upgrade" },
  ),
  conformanceCase(
    "T6.2.1",
    "ctx.upgrade without an upgrade is 426",
    async (base) => {
      same((await ask(base, "/upgrade-here")).status, 426, "status");
    },
    { capability: "upgrade" },
  ),
  conformanceCase("T6.2.2", "an upgrade is denied with any response", async (base) => {
    const wire = new Wire(base);
    wire.head("GET", "/ws/deny", UPGRADE, true);
    const response = await wire.response();
    wire.leave();
    same(
      [response.status, valueOf(response.fields, "x-denied"), response.body.toString()],
      [403, "yes", "denied"],
      "response",
    );
  }),
  conformanceCase(
    "T7.1.1",
    "work goes on after the response, and its failure harms nobody",
    async (base) => {
      const token = freshToken();
      const response = await ask(base, `/work?token=${token}`);
      same([response.status, response.body.toString()], [200, "replied"], "response");
      same(await notesOf(base, token, 1), ["work done"], "notes");
      same((await ask(base, "/body/string")).status, 200, "status of the next request");
    },
    { capability: "waitUntil" },
  ),
  conformanceCase("T7.2.1", "onFinished is called once, when the exchange has ended", async (base) => {
    const token = freshToken();
    await ask(base, `/completes?token=${token}`);
    await notesOf(base, token, 1);
    await pause(50);
    same(await notesOf(base, token, 1), ["finished undefined"], "notes");
  }),
];
