/** Socket.IO, unmodified, with several workers and nothing sticky in front: polling, WebSocket, and the change from one to the other. */
import { once } from "node:events";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { io, type Socket } from "socket.io-client";
import { apps, ServerUnderTest } from "../support/server.ts";
import { Playground, StackUnderTest } from "../support/stack.ts";

const WORKERS = 3;
const CLIENTS = 12;
const MESSAGES = 10;

const targets = [
  {
    name: "server alone, HTTP",
    start: async () => {
      const server = await ServerUnderTest.start("socket-io.mjs", ["-w", `${WORKERS}`]);
      return { url: server.url, output: () => server.command.output, close: () => server[Symbol.asyncDispose]() };
    },
  },
  {
    name: "both tiers, link",
    start: async () => {
      const playground = new Playground();
      const stack = await StackUnderTest.start(playground, `${apps}/socket-io.mjs`, ["--workers", `${WORKERS}`]);
      return {
        url: stack.url,
        output: () => stack.command.output,
        close: async () => {
          await stack[Symbol.asyncDispose]();
          playground[Symbol.dispose]();
        },
      };
    },
  },
];

describe.each(targets)("$name", (kind) => {
  let target: Awaited<ReturnType<typeof kind.start>>;
  const sockets: Socket[] = [];
  beforeAll(async () => {
    target = await kind.start();
  });
  afterAll(async () => {
    for (const socket of sockets) socket.close();
    await target?.close();
  });

  /** Connects; resolves with the worker that has the session. */
  async function connect(transports: string[]): Promise<{ socket: Socket; pid: number }> {
    const socket = io(target.url, { transports, forceNew: true, reconnection: false });
    sockets.push(socket);
    const failed = new Promise<never>((_resolve, reject) => socket.once("connect_error", reject));
    failed.catch(() => {});
    const [pid] = (await Promise.race([once(socket as never, "pid"), failed])) as [number];
    return { socket, pid };
  }

  test.each([["polling"], ["websocket"]])(
    "%s: every message of a client is answered by its worker",
    async (transport) => {
      const clients = await Promise.all(Array.from({ length: CLIENTS }, () => connect([transport])));
      const answers = await Promise.all(
        clients.flatMap(({ socket, pid }) =>
          Array.from({ length: MESSAGES }, async (_, index) => {
            const message = `${index} ${"x".repeat(index * 1_000)}`;
            const [echo, by] = await new Promise<[string, number]>((resolve) =>
              socket.emit("echo", message, (...answer: [string, number]) => resolve(answer)),
            );
            return echo === message && by === pid;
          }),
        ),
      );
      expect(answers).toEqual(Array.from({ length: CLIENTS * MESSAGES }, () => true));
      for (const { socket } of clients) {
        expect(socket.connected).toBe(true);
        socket.close();
      }
    },
  );

  test("polling becomes WebSocket on the worker that has the session", async () => {
    const { socket, pid } = await connect(["polling", "websocket"]);
    const { engine } = socket.io;
    if (engine.transport.name === "polling") await once(engine as never, "upgrade");
    expect(engine.transport.name).toBe("websocket");
    const parts: number[] = [];
    const all = new Promise<void>((resolve) =>
      socket.on("part", (number: number) => {
        parts.push(number);
        if (parts.length === 100) resolve();
      }),
    );
    socket.emit("stream", 100);
    await all;
    expect(parts).toEqual(Array.from({ length: 100 }, (_, index) => index));
    const by = await new Promise((resolve) =>
      socket.emit("echo", "", (_: string, answered: number) => resolve(answered)),
    );
    expect(by).toBe(pid);
  });

  test("a session that nobody has is refused by the application, in its own words", async () => {
    const response = await fetch(`${target.url}/socket.io/?EIO=4&transport=polling&sid=neverOpenedByAnyone`);
    expect([response.status, await response.json()]).toEqual([400, { code: 1, message: "Session ID unknown" }]);
  });

  test("nothing of it was logged as a failure", () => {
    expect(target.output()).not.toMatch(/handed over|failed|"level":"(warn|error)"/);
  });
});
