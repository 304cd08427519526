import {
  askJson,
  capabilitiesOf,
  type ConformanceCase,
  conformanceCase,
  freshToken,
  holds,
  notesOf,
  pause,
  same,
} from "./case.ts";
import { ask, valueOf, Wire } from "./wire.ts";

const CAPABILITIES = [
  "upgrade",
  "earlyHints",
  "trailers",
  "requestTrailers",
  "waitUntil",
  "buffering",
  "raiseLimits",
  "file",
  "internalRedirect",
  "cache",
  "compress",
];
const TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/** How far the clocks of kit and server may be apart, milliseconds. */
const CLOCK_SKEW_MS = 60_000;

interface Facts {
  readonly id: string;
  readonly trace: { readonly traceparent?: string; readonly tracestate?: string };
  readonly http: {
    readonly version: string;
    readonly scheme: string;
    readonly authority: string;
    readonly method: string;
    readonly target: string;
    readonly headers: string[];
  };
  readonly mount: { readonly root: string; readonly path: string };
  readonly connection: Record<
    "peer" | "local" | "client",
    { readonly address: unknown; readonly port: unknown; readonly vouchedBy?: string }
  >;
  readonly time: { readonly received: number; readonly queued: number; readonly deadline?: number };
  readonly worker: Record<"id" | "pid" | "generation" | "count", unknown>;
}

async function factsOf(base: string, query = "", fields: readonly (readonly [string, string])[] = []): Promise<Facts> {
  return (await askJson(base, `/facts${query}`, { fields })) as Facts;
}

/** Section 3: the context. */
export const contextCases: readonly ConformanceCase[] = [
  conformanceCase("T3.1.1", "the context says which interface it is", async (base) => {
    const spec = (await askJson(base, "/spec")) as { name: string; version: string };
    same([spec.name, spec.version], ["TSGI", "1.0"], "spec");
  }),
  conformanceCase("T3.2.1", "every capability is declared present or absent", async (base) => {
    const capabilities = await capabilitiesOf(base);
    const undeclared = CAPABILITIES.filter(
      (name) => typeof (capabilities as unknown as Record<string, unknown>)[name] !== "boolean",
    );
    same(undeclared, [], "undeclared capabilities");
  }),
  conformanceCase("T3.2.2", "calling what is absent throws CAPABILITY_ABSENT", async (base) => {
    const results = (await askJson(base, "/absent")) as Record<string, string>;
    const wrong = Object.entries(results).filter(([, code]) => code !== "CAPABILITY_ABSENT");
    same(wrong, [], "absent capabilities that did not throw it");
  }),
  conformanceCase("T3.3.1", "ids are short, visible and different", async (base) => {
    const [first, second] = [(await factsOf(base)).id, (await factsOf(base)).id];
    holds(/^[\x21-\x7e]{1,128}$/.test(first), `id is ${JSON.stringify(first)}`);
    holds(first !== second, `two requests have the id ${first}`);
  }),
  conformanceCase("T3.3.2", "a trace context is shown as received, a malformed one is not", async (base) => {
    const good = await factsOf(base, "", [
      ["traceparent", TRACEPARENT],
      ["tracestate", "vendor=1"],
    ]);
    same(good.trace, { traceparent: TRACEPARENT, tracestate: "vendor=1" }, "trace");
    const bad = await factsOf(base, "", [
      ["traceparent", "00-nonsense-01"],
      ["tracestate", "vendor=1"],
    ]);
    same(bad.trace.traceparent, undefined, "traceparent of a malformed one");
  }),
  conformanceCase("T3.3.3", "the target is shown byte for byte", async (base) => {
    for (const target of ["/raw/%7Efoo/%2e%2E/a%2Fb;c=d//e/?x=%20y&z&&=", "/raw/a/./b/?", "/raw/'()*!~$,|%5B"]) {
      const http = (await askJson(base, target.replace("/./", "/./"))) as { target: string };
      same(http.target, target, "target");
    }
  }),
  conformanceCase(
    "T3.3.4",
    "fields keep order, case and number",
    async (base) => {
      const given: [string, string][] = [
        ["X-One", "1"],
        ["x-TWO", "2"],
        ["X-One", "3"],
        ["x-empty", ""],
      ];
      const { headers } = (await factsOf(base, "", given)).http;
      const seen: string[][] = [];
      for (let at = 0; at < headers.length; at += 2)
        if (/^x-(?:one|two|empty)$/i.test(headers[at] as string)) seen.push(headers.slice(at, at + 2));
      same(seen, given, "fields");
    },
    { direct: true },
  ),
  conformanceCase("T3.3.5", "version, scheme, authority and method are shown", async (base) => {
    const { http } = await factsOf(base);
    same([http.scheme, http.authority, http.method], ["http", new URL(base).host, "GET"], "scheme, authority, method");
    holds(["1.0", "1.1", "2"].includes(http.version), `version is ${http.version}`);
  }),
  conformanceCase("T3.3.6", "root and path make the target without its query", async (base) => {
    const { mount } = await factsOf(base, "?a=1?b");
    same(mount.root + mount.path, "/facts", "root + path");
  }),
  conformanceCase("T3.3.7", "peer, local and client have addresses", async (base) => {
    const { connection } = await factsOf(base);
    for (const end of ["peer", "local", "client"] as const) {
      same([typeof connection[end].address, typeof connection[end].port], ["string", "number"], `types of ${end}`);
    }
    holds(
      ["socket", "proxy-protocol", "forwarded", "link"].includes(connection.client.vouchedBy ?? ""),
      `vouchedBy is ${connection.client.vouchedBy}`,
    );
  }),
  conformanceCase("T3.3.9", "times are in milliseconds", async (base) => {
    const { time } = await factsOf(base);
    holds(Math.abs(time.received - Date.now()) < CLOCK_SKEW_MS, `received is ${time.received}`);
    holds(time.queued >= 0, `queued is ${time.queued}`);
    holds(time.deadline === undefined || time.deadline > time.received, `deadline is ${time.deadline}`);
  }),
  conformanceCase("T3.3.10", "the worker is numbered", async (base) => {
    const { worker } = await factsOf(base);
    for (const name of ["id", "generation", "count"] as const)
      holds(Number.isInteger(worker[name]) && Number(worker[name]) >= 1, `worker.${name} is ${String(worker[name])}`);
    holds(Number.isInteger(worker.pid), `worker.pid is ${String(worker.pid)}`);
  }),
  conformanceCase("T3.4.1", "the signal aborts when the client leaves", async (base) => {
    const token = freshToken();
    const wire = new Wire(base);
    wire.head("GET", `/hang?token=${token}`);
    same(await notesOf(base, token, 1), ["begun"], "notes before the client left");
    wire.leave();
    const notes = (await notesOf(base, token, 3)).sort();
    same(notes, ["aborted ClientDisconnected CLIENT_DISCONNECTED", "begun", "finished CLIENT_DISCONNECTED"], "notes");
  }),
  conformanceCase("T3.4.2", "the signal does not abort when the response is complete", async (base) => {
    const token = freshToken();
    await ask(base, `/completes?token=${token}`);
    await notesOf(base, token, 1);
    await pause(50);
    same(await notesOf(base, token, 1), ["finished undefined"], "notes");
  }),
  conformanceCase("T3.4.3", "the signal aborts when the time is up, and 503 is answered", async (base) => {
    const token = freshToken();
    const response = await ask(base, `/timeout?token=${token}`);
    same(response.status, 503, "status");
    holds(valueOf(response.fields, "retry-after") !== undefined, "there is no Retry-After");
    same(await notesOf(base, token, 1), ["TIMEOUT"], "reason");
  }),
  conformanceCase("T3.5.1", "the loggers can be called", async (base) => {
    same(await askJson(base, "/log"), ["function", "function", "function"], "types");
  }),
];
