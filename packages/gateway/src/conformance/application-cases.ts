import { askJson, type ConformanceCase, conformanceCase, freshToken, holds, notesOf, same } from "./case.ts";
import { ask, Wire } from "./wire.ts";

/** What no client may ever see: the message of the errors that the application throws, and traces of a stack. */
const SECRETS = /secret|SecretError|\bat \S+ \(|application\.[jt]s/;

async function failsCleanly(base: string, target: string): Promise<void> {
  const response = await ask(base, target);
  same(response.status, 500, `status of ${target}`);
  const text = response.body.toString("utf8");
  holds(!SECRETS.test(text + JSON.stringify(response.fields)), `${target} shows what was thrown: ${text}`);
  holds(/[\x21-\x7e]{6,}/.test(text), `${target} has no request id in its body: ${text}`);
}

/** Section 2: the application. */
export const applicationCases: readonly ConformanceCase[] = [
  conformanceCase("T2.1.1", "an object with fetch is an application", async (base) => {
    same((await ask(base, "/body/string")).status, 200, "status");
  }),
  conformanceCase("T2.1.2", "fetch is called with its object as this", async (base) => {
    same((await ask(base, "/this")).body.toString(), "itself", "this");
  }),
  conformanceCase("T2.2.1", "the application runs once for each request", async (base) => {
    const token = freshToken();
    await ask(base, `/count?token=${token}`);
    same(await notesOf(base, token, 1), ["run"], "runs after one request");
    await ask(base, `/count?token=${token}`);
    same(await notesOf(base, token, 2), ["run", "run"], "runs after two requests");
  }),
  conformanceCase("T2.2.2", "upgrades to websocket go to websocket, others to fetch", async (base) => {
    same((await ask(base, "/ws/deny")).status, 404, "status of /ws/deny without upgrade");
    const wire = new Wire(base);
    wire.head(
      "GET",
      "/ws/deny",
      [
        ["Connection", "Upgrade"],
        ["Upgrade", "websocket"],
        ["Sec-WebSocket-Version", "13"],
        ["Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="],
      ],
      true,
    );
    same((await wire.response()).status, 403, "status of /ws/deny with upgrade");
    wire.leave();
  }),
  conformanceCase("T2.2.3", "two requests are under way at once", async (base) => {
    const token = freshToken();
    const both = await Promise.all([ask(base, `/rendezvous?token=${token}`), ask(base, `/rendezvous?token=${token}`)]);
    same(
      both.map((response) => response.body.toString()),
      ["met", "met"],
      "answers",
    );
  }),
  conformanceCase("T2.3.1", "startup ran once and gave the state", async (base) => {
    same(await askJson(base, "/state"), { startups: 1 }, "state");
    same(await askJson(base, "/state"), { startups: 1 }, "state of the next request");
  }),
  conformanceCase("T2.4.1a", "what is thrown becomes a 500 that tells nothing", (base) => failsCleanly(base, "/throw")),
  conformanceCase("T2.4.1b", "a rejection becomes a 500 that tells nothing", (base) => failsCleanly(base, "/reject")),
  conformanceCase("T2.4.1c", "a rejection with undefined becomes a 500", (base) =>
    failsCleanly(base, "/reject-nothing"),
  ),
  conformanceCase("T2.4.1d", "the connection is usable after a 500", async (base) => {
    const wire = new Wire(base);
    wire.head("GET", "/throw", [], true);
    same((await wire.response()).status, 500, "first status");
    wire.head("GET", "/body/string");
    same((await wire.response()).status, 200, "second status on the same connection");
    wire.leave();
  }),
  conformanceCase("T2.4.2", "onError answers what was thrown", async (base) => {
    const response = await ask(base, "/handled");
    same([response.status, response.body.toString()], [418, "handled by the application"], "answer");
  }),
  conformanceCase("T2.4.3", "what onError throws becomes a 500", (base) => failsCleanly(base, "/throw")),
];
