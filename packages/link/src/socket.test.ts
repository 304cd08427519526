import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import net from "node:net";
import { networkInterfaces, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { ExchangeHandler, HeaderList } from "@portico/gateway/exchange";
import { afterEach, expect, test } from "vitest";
import type { ClientSession, UpstreamReset } from "./client.ts";
import type { LinkRequest } from "./head.ts";
import type { PeerHello } from "./hello.ts";
import { LinkError } from "./error.ts";
import type { ServerSession } from "./server.ts";
import { acceptLink, type ClientLinkOptions, connectLink, drainLink, type ServerLinkOptions } from "./socket.ts";
import { requestOf } from "./test-rig.ts";
import { Dice } from "./test-script.ts";

const cleanups: (() => Promise<void> | void)[] = [];

afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

const worker = { id: 1, generation: 1, count: 2, concurrency: 100 };

interface Pair {
  client: ClientSession;
  server: Promise<ServerSession>;
  ready: Promise<PeerHello>;
}

async function pair(
  kind: "unix" | "tcp" | "both families",
  handler: ExchangeHandler,
  clientOptions: ClientLinkOptions = {},
  serverOptions: Partial<ServerLinkOptions> = {},
): Promise<Pair> {
  const folder = await mkdtemp(join(tmpdir(), "portico-link-"));
  const sockets: net.Socket[] = [];
  const accepted = Promise.withResolvers<ServerSession>();
  const listener = net.createServer((socket) => {
    sockets.push(socket);
    accepted.resolve(acceptLink(socket, handler, { worker, ...serverOptions }));
  });
  await new Promise<void>((resolve) => {
    if (kind === "unix") listener.listen(join(folder, "s"), resolve);
    else listener.listen(0, kind === "tcp" ? "127.0.0.1" : "::", resolve);
  });
  const address = listener.address();
  const socket = typeof address === "string" ? net.connect(address) : net.connect(address!.port, "127.0.0.1");
  sockets.push(socket);
  const ready = Promise.withResolvers<PeerHello>();
  const client = connectLink(socket, {
    ...clientOptions,
    onReady: ready.resolve,
    onClosed: (error) => {
      ready.reject(error ?? new LinkError("lost", "closed"));
      clientOptions.onClosed?.(error);
    },
  });
  ready.promise.catch(() => {});
  cleanups.push(async () => {
    for (const one of sockets) one.destroy();
    await new Promise((resolve) => listener.close(resolve));
    await rm(folder, { recursive: true, force: true });
  });
  return { client, server: accepted.promise, ready: ready.promise };
}

function request(target: string, extra: Partial<LinkRequest> = {}): LinkRequest {
  return requestOf({
    scheme: "https",
    authority: "example.test",
    target,
    headers: ["Host", "example.test", "accept", "*/*"],
    id: "id-1",
    client: { address: "192.0.2.7", port: 4711, vouchedBy: "socket" },
    receivedAt: 1_700_000_000_123,
    queuedMs: 3,
    ...extra,
  });
}

interface Answer {
  status: number;
  headers: HeaderList;
  body: Buffer;
}

function ask(client: ClientSession, asked: LinkRequest, body: Uint8Array | null = null): Promise<Answer> {
  return new Promise((resolve, reject: (reset: UpstreamReset) => void) => {
    const answer: Answer = { status: 0, headers: [], body: Buffer.alloc(0) };
    const chunks: Uint8Array[] = [];
    const finish = (): void => resolve({ ...answer, body: Buffer.concat(chunks) });
    const stream = client.open(asked, body, true, {
      onInform() {},
      onResponse(status, headers, first, complete) {
        answer.status = status;
        answer.headers = headers;
        if (first !== null) {
          chunks.push(first);
          if (!complete) stream.consume(first.length);
        }
        if (complete) finish();
      },
      onData(chunk) {
        chunks.push(chunk);
        stream.consume(chunk.length);
      },
      onEnd: finish,
      onDrain() {},
      onReset: reject,
    });
  });
}

/** Answers with the request's own body, at the pace the proxy takes it. */
const echo: ExchangeHandler = (exchange) => {
  exchange.start(200, ["content-type", "application/octet-stream"]);
  exchange.observer = {
    onData(chunk) {
      if (!exchange.write(chunk)) exchange.pause();
    },
    onEnd: () => exchange.end(),
    onDrain: () => exchange.resume(),
    onFinish() {},
    onAbort() {},
  };
  exchange.resume();
};

test.each(["unix", "tcp"] as const)("a request and its answer over %s", async (kind) => {
  const seen: unknown[] = [];
  const { client, ready } = await pair(kind, (exchange) => {
    seen.push({ ...exchange.head }.target, exchange.facts.client, exchange.facts.receivedAt, exchange.facts.queuedMs);
    exchange.respond(200, ["content-type", "text/plain"], `hello ${exchange.head.target} €`);
  });
  const hello = await ready;
  expect(hello).toMatchObject({ role: "worker", worker: 1, generation: 1, workers: 2, concurrency: 100 });
  const answers = await Promise.all(["/a", "/b", "/c"].map((target) => ask(client, request(target))));
  expect(answers.map((answer) => answer.body.toString())).toEqual(["hello /a €", "hello /b €", "hello /c €"]);
  expect(answers[0]!.headers).toEqual(["content-type", "text/plain", "Content-Length", "12"]);
  expect(seen.slice(0, 4)).toEqual([
    "/a",
    { address: "192.0.2.7", port: 4711, vouchedBy: "link" },
    1_700_000_000_123,
    3,
  ]);
});

const families = Object.values(networkInterfaces()).flatMap((all) => all?.map(({ family }) => family));

test.skipIf(!families.includes("IPv6"))(
  "an IPv4 address is written as one, on a socket for both families too",
  async () => {
    const seen: string[] = [];
    const { client, ready } = await pair("both families", (exchange) => {
      seen.push(exchange.facts.peer.address, exchange.facts.local.address);
      exchange.respond(200, [], "");
    });
    await ready;
    await ask(client, request("/"));
    expect(seen).toEqual(["127.0.0.1", "127.0.0.1"]);
  },
);

test("bodies much larger than the window flow both ways and arrive whole", async () => {
  const { client, ready } = await pair("unix", echo);
  await ready;
  const body = Buffer.alloc(5_000_000);
  for (let index = 0; index < body.length; index++) body[index] = (index * 31) ^ (index >> 8);
  const answers = await Promise.all(
    [1, 2, 3].map(() => ask(client, request("/", { method: "POST", bodyLength: body.length }), body)),
  );
  for (const answer of answers) expect(answer.body.equals(body)).toBe(true);
});

test("TCP with a shared secret: the right one is let in, a wrong or missing one is not", async () => {
  const secret = "0123456789abcdef0123456789abcdef";
  const right = await pair("tcp", echo, { secret }, { secret });
  await right.ready;
  expect((await ask(right.client, request("/"), null)).status).toBe(200);
  for (const clientOptions of [{ secret: `${secret}!` }, {}]) {
    let served = 0;
    const wrong = await pair("tcp", () => served++, clientOptions, { secret });
    await expect(wrong.ready).rejects.toMatchObject({ code: "authentication" });
    expect(served).toBe(0);
  }
});

test("draining lets what is under way finish, refuses nothing silently, and closes in order", async () => {
  const asked = Promise.withResolvers<() => void>();
  const closed = Promise.withResolvers<unknown>();
  const { client, server, ready } = await pair(
    "unix",
    (exchange) => {
      asked.resolve(() => exchange.respond(200, [], "late"));
    },
    { onClosed: closed.resolve },
  );
  await ready;
  const pending = ask(client, request("/slow"));
  const answer = await asked.promise;
  const drained = drainLink(await server, 5_000);
  while (!client.draining) await new Promise((resolve) => setImmediate(resolve));
  expect(() => client.open(request("/"), null, true, undefined as never)).toThrow(
    expect.objectContaining({ code: "draining" }),
  );
  answer();
  expect((await pending).body.toString()).toBe("late");
  await drained;
  expect(await closed.promise).toBeUndefined();
});

test("a worker that vanishes ends its streams, not as refused", async () => {
  const closed = Promise.withResolvers<unknown>();
  const { client, server, ready } = await pair("unix", () => {}, { onClosed: closed.resolve });
  await ready;
  const pending = ask(client, request("/"));
  pending.catch(() => {});
  const session = await server;
  while (session.inFlight === 0) await new Promise((resolve) => setImmediate(resolve));
  session.close("shutdown", "going down");
  await expect(pending).rejects.toMatchObject({ code: "lost", refused: false, phase: "request" });
  expect(await closed.promise).toMatchObject({ code: "shutdown" });
});

test("the snippet of the README runs and says what it says", async () => {
  const readme = await readFile(new URL("../README.md", import.meta.url), "utf8");
  const snippet = readme.split("```ts\n")[1]!.split("```")[0]!;
  const file = new URL(`./readme-${process.pid}.ts`, import.meta.url);
  await writeFile(file, snippet);
  try {
    const { stdout } = await promisify(execFile)(
      process.execPath,
      ["--conditions=@portico/source", fileURLToPath(file)],
      {
        timeout: 15_000,
      },
    );
    expect(stdout).toBe("200 hello /world\n");
  } finally {
    await rm(file, { force: true });
  }
});

test.each(["unix", "tcp"] as const)(
  "bodies both ways, resets in the middle and small windows leave the link over %s in order",
  async (kind) => {
    const seed = Number(process.env["PORTICO_SEED"] ?? Date.now() % 1_000_000);
    console.log(`link stress over ${kind}: PORTICO_SEED=${seed}`);
    const dice = new Dice(seed);
    const limits = { window: 16_384, maxWindow: 50_000, growth: 200_000 };
    const closed: (LinkError | undefined)[] = [];
    const { client, server, ready } = await pair(
      kind,
      (exchange) => {
        echo(exchange);
        const observer = exchange.observer!;
        const limit = dice.chance(0.15) ? dice.below(300_000) : Infinity;
        let got = 0;
        exchange.observer = {
          onData(chunk) {
            got += chunk.length;
            if (got > limit) exchange.abort("reset");
            else observer.onData(chunk);
          },
          onEnd: (trailers) => observer.onEnd(trailers),
          onDrain: () => observer.onDrain(),
          onFinish() {},
          onAbort() {},
        };
      },
      { limits, onClosed: (error) => closed.push(error) },
      { limits },
    );
    await ready;
    const pattern = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 31) ^ (index >> 8)));
    const outcomes = { whole: 0, reset: 0, left: 0 };
    const wrong: string[] = [];
    const one = (): Promise<void> => {
      const { promise, resolve } = Promise.withResolvers<void>();
      const size = dice.below(pattern.length);
      const leaveAt = dice.chance(0.15) ? dice.below(size) : Infinity;
      let got = 0;
      let sent = 0;
      let over = false;
      const settle = (outcome: keyof typeof outcomes): void => {
        if (over) return;
        over = true;
        outcomes[outcome]++;
        resolve();
      };
      const take = (chunk: Uint8Array): void => {
        if (Buffer.compare(chunk, pattern.subarray(got, got + chunk.length)) !== 0) wrong.push(`other bytes at ${got}`);
        got += chunk.length;
        stream.consume(chunk.length);
        if (got <= leaveAt) return;
        stream.reset("cancelled");
        settle("left");
      };
      const push = (): void => {
        while (sent < size) {
          const part = pattern.subarray(sent, Math.min(size, sent + 1 + dice.below(70_000)));
          sent += part.length;
          if (!stream.write(part)) return;
        }
        stream.end();
      };
      const finish = (): void => {
        if (!over && got !== size) wrong.push(`${got} bytes instead of ${size}`);
        settle("whole");
      };
      const stream = client.open(request("/", { method: "POST", bodyLength: -1 }), null, false, {
        onInform() {},
        onResponse(_status, _headers, body, complete) {
          if (body !== null) take(body);
          if (complete) finish();
        },
        onData: take,
        onEnd: finish,
        onDrain: push,
        onReset: () => settle("reset"),
      });
      push();
      return promise;
    };
    const loop = async (): Promise<void> => {
      for (let count = 0; count < 15; count++) await one();
    };
    await Promise.all(Array.from({ length: 40 }, loop));
    expect(closed).toEqual([]);
    expect(outcomes.whole + outcomes.reset + outcomes.left).toBe(600);
    expect(Math.min(outcomes.whole, outcomes.reset, outcomes.left)).toBeGreaterThan(10);
    await expect.poll(async () => [client.inFlight, (await server).inFlight]).toEqual([0, 0]);
  },
);
