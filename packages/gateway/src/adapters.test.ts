import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { fromNodeListener, toFetchModule, toNodeListener } from "./adapters.ts";
import type { Application, ApplicationObject } from "./application.ts";
import { conformanceApplication, conformanceCases } from "./conformance.ts";
import { silentLogger } from "./host/log.ts";
import { type ReferenceServer, serveReference } from "./reference.ts";

const log = silentLogger();
const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

async function listen(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function reference(application: Application): Promise<ReferenceServer> {
  const server = await serveReference(application, { log });
  closing.push(() => server.close());
  return server;
}

describe("toNodeListener", () => {
  it("conforms", async () => {
    const listener = toNodeListener(conformanceApplication, { log });
    await listener.ready;
    const url = await listen(
      createServer(listener).on("upgrade", listener.upgrade).on("checkContinue", listener.checkContinue),
    );
    const failures: string[] = [];
    for (const { id, run } of conformanceCases.filter(({ id }) => /^T(?:2\.4|4\.2\.3|5\.1|6)/.test(id))) {
      await run({ url }).catch((error: Error) => failures.push(`${id} ${error.message}`));
    }
    expect(failures).toEqual([]);
  });

  it("answers 503 when startup failed, and says so in ready", async () => {
    const application: ApplicationObject = {
      fetch: () => ({}),
      lifespan: {
        startup: () => {
          throw new TypeError("no database");
        },
      },
    };
    const listener = toNodeListener(application, { log });
    await expect(listener.ready).rejects.toMatchObject({
      code: "STARTUP",
      message: expect.stringContaining("no database") as string,
    });
    expect((await fetch(await listen(createServer(listener)))).status).toBe(503);
  });

  it("runs shutdown after what is under way", async () => {
    const events: string[] = [];
    const listener = toNodeListener(
      {
        fetch: (_request, ctx) => {
          ctx.waitUntil(new Promise<void>((resolve) => setTimeout(resolve, 30)).then(() => events.push("work")));
          return {};
        },
        lifespan: { startup: () => "state", shutdown: (state) => void events.push(`shutdown ${state}`) },
      },
      { log },
    );
    await fetch(await listen(createServer(listener)));
    await listener.shutdown();
    expect(events).toEqual(["work", "shutdown state"]);
  });
});

describe("toFetchModule", () => {
  it("answers with a Response, with body, fields and work to wait for", async () => {
    let awaited: Promise<unknown> | undefined;
    const module = toFetchModule(
      {
        lifespan: { startup: () => ({ name: "state" }) },
        fetch: async (request, ctx) => {
          ctx.waitUntil(Promise.resolve());
          const { name } = ctx.state;
          return {
            status: 201,
            headers: { "set-cookie": ["a=1", "b=2"] },
            body: `${await request.text()} ${name} ${ctx.http.target}`,
          };
        },
      },
      { log },
    );
    const request = new Request("http://example.com/a?b=1", { method: "POST", body: "text" });
    const response = await module.fetch(
      request,
      {},
      {
        waitUntil: (work) => {
          awaited = work;
        },
      },
    );
    expect([response.status, await response.text()]).toEqual([201, "text state /a?b=1"]);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    await awaited;
    await module.shutdown();
  });

  it("streams both ways, stops the producer when the reader leaves, and declares what it lacks", async () => {
    let closed = false;
    const module = toFetchModule(
      (request, ctx) => {
        if (ctx.http.target === "/echo") return { body: request.body as ReadableStream<Uint8Array> };
        if (ctx.http.target === "/spec") return Response.json(ctx.spec.capabilities);
        return {
          body: (async function* () {
            try {
              for (;;) yield "x".repeat(1000);
            } finally {
              closed = true;
            }
          })(),
        };
      },
      { log },
    );
    const body = new Blob(["x".repeat(200_000)]).stream();
    const echo = await module.fetch(new Request("http://a/echo", { method: "POST", body, duplex: "half" }));
    expect((await echo.text()).length).toBe(200_000);
    const endless = await module.fetch(new Request("http://a/endless"));
    const reader = (endless.body as ReadableStream<Uint8Array>).getReader();
    await reader.read();
    await reader.cancel();
    await expect.poll(() => closed).toBe(true);
    const capabilities = (await (await module.fetch(new Request("http://a/spec"))).json()) as Record<string, boolean>;
    expect([capabilities["upgrade"], capabilities["earlyHints"], capabilities["waitUntil"]]).toEqual([
      false,
      false,
      true,
    ]);
  });
});

describe("fromNodeListener", () => {
  it("runs a listener of node:http as an application", async () => {
    const listener = (request: IncomingMessage, response: ServerResponse): void => {
      if (request.url === "/gone") return void response.writeHead(410).end();
      response.writeHead(200, { "X-Url": request.url, "Set-Cookie": ["a=1", "b=2"] });
      request.on("data", (chunk: Buffer) => response.write(chunk.toString().toUpperCase()));
      request.on("end", () => response.end("."));
    };
    const { url } = await reference(fromNodeListener(listener));
    const response = await fetch(`${url}/path?x=1`, { method: "POST", body: "text" });
    expect([response.status, await response.text(), response.headers.get("x-url")]).toEqual([
      200,
      "TEXT.",
      "/path?x=1",
    ]);
    expect(response.headers.getSetCookie()).toEqual(["a=1", "b=2"]);
    expect((await fetch(`${url}/gone`)).status).toBe(410);
    expect((await fetch(url)).status).toBe(200);
  });
});
