/** What Node's own http does, ours does: one program, run by node itself and over every way to the server, with the same expectations. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { apps } from "../support/server.ts";
import { fronts, Way } from "../support/ways.ts";

const PROGRAM = "node-http.cjs";

/** The oracle: the program without us. */
async function startNode(): Promise<Way> {
  const child = spawn(process.execPath, [join(apps, PROGRAM)], {
    env: { ...process.env, PORT: "0" },
    stdio: ["ignore", "pipe", "inherit"],
  });
  let said = "";
  const port = await new Promise<string>((resolve, reject) => {
    child.stdout.on("data", (chunk: Buffer) => {
      said += chunk.toString();
      const match = /listening on (\d+)/.exec(said);
      if (match !== null) resolve(match[1]!);
    });
    child.once("exit", (code) => reject(new Error(`node ended with ${code}`)));
  });
  return new Way({ host: "127.0.0.1", port }, async () => {
    child.kill("SIGKILL");
    if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
  });
}

const ways = [
  { name: "node:http itself", hasFront: false, isNginx: false, start: startNode },
  ...fronts.map((front) => ({
    name: front.name,
    hasFront: front.hasFront,
    isNginx: front.name.includes("nginx"),
    start: () => front.start(PROGRAM),
  })),
];
let names = 0;
const freshName = (): string => `n${(names += 1)}-${process.pid}`;

describe.each(ways)("$name", (kind) => {
  let way: Way;
  beforeAll(async () => {
    way = await kind.start();
  });
  afterAll(async () => {
    await way?.[Symbol.asyncDispose]();
  });

  const seen = async (name: string): Promise<string[]> =>
    JSON.parse((await way.ask(`/seen?name=${name}`)).body.toString()) as string[];

  // nginx keeps interim responses of its upstream, and trailers, to itself.
  test.skipIf(kind.isNginx)("interim responses come before the final one", async () => {
    const sent = request({ ...way.target, path: "/interim" }).end();
    const interim: (readonly [number, string | undefined])[] = [];
    sent.on("information", (info) => interim.push([info.statusCode, info.headers["link"] as string | undefined]));
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    expect(Buffer.concat(await response.toArray()).toString()).toBe("after hints");
    expect(interim).toEqual([
      [103, "</a.css>; rel=preload"],
      [102, undefined],
    ]);
  });

  test.skipIf(kind.isNginx)("trailers pass both ways", async () => {
    const sent = request({
      ...way.target,
      path: "/trailers",
      method: "POST",
      headers: { "transfer-encoding": "chunked", trailer: "X-Up", te: "trailers", connection: "te, close" },
    });
    sent.write("body");
    sent.addTrailers({ "X-Up": "loaded" });
    sent.end();
    const [response] = (await once(sent, "response")) as [IncomingMessage];
    const body = JSON.parse(Buffer.concat(await response.toArray()).toString()) as unknown;
    expect(body).toMatchObject({ trailers: { "x-up": "loaded" } });
    expect(response.trailers).toEqual({ "x-sum": "abc" });
  });

  test("the head leaves when it is flushed", async () => {
    const name = freshName();
    const response = await way.open(`/flush?name=${name}`);
    expect(response.headers["x-early"]).toBe("yes");
    await way.ask(`/release?name=${name}`);
    expect(Buffer.concat(await response.toArray()).toString()).toBe("late");
  });

  test("write says when to stop, and drain when to go on", async () => {
    const name = freshName();
    const response = await way.open(`/full?name=${name}`);
    await expect.poll(() => seen(name), { timeout: 20_000 }).toContain("full");
    const body = Buffer.concat(await response.toArray());
    expect(body.length).toBe(800 * 65_536);
    const notes = await seen(name);
    expect([notes[0], notes.at(-1)]).toEqual(["full", "done"]);
  });

  test("a client that leaves is told to request and response", async () => {
    const name = freshName();
    const response = await way.open(`/watch?name=${name}`);
    response.on("error", () => {});
    await once(response, "data");
    response.destroy();
    await expect
      .poll(async () => (await seen(name)).toSorted(), { timeout: 20_000 })
      .toEqual(["aborted", "request closed", "response closed, incomplete"]);
  });

  describe("Expect: 100-continue", () => {
    const asked = (headers: Record<string, string>) =>
      request({
        ...way.target,
        path: "/echo",
        method: "POST",
        headers: { expect: "100-continue", "content-length": "4", ...headers },
      });

    test("is answered before the body", async () => {
      const sent = asked({});
      sent.flushHeaders();
      await once(sent, "continue");
      sent.end("body");
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      expect(Buffer.concat(await response.toArray()).toString()).toBe("body");
    });

    // A front that takes bodies in before it troubles the application says Continue by itself.
    test.skipIf(kind.hasFront)("can be refused by checkContinue, and no body is asked for", async () => {
      const sent = asked({ "x-refuse": "1" });
      let continued = false;
      sent.on("continue", () => (continued = true)).on("error", () => {});
      sent.flushHeaders();
      const [response] = (await once(sent, "response")) as [IncomingMessage];
      const body = Buffer.concat(await response.toArray()).toString();
      expect([response.statusCode, body, continued]).toEqual([413, "too much", false]);
      sent.destroy();
    });
  });
});
