/** CONNECT through the proxy as a program, with curl as client and an application that opens the tunnels. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { type IncomingMessage, createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import type { Duplex } from "node:stream";
import { promisify } from "node:util";
import { expect, test } from "vitest";
import { Command } from "../support/command.ts";
import { ProxyUnderTest } from "../support/proxy.ts";

const run = promisify(execFile);

test("curl speaks to its target through a tunnel; internal routes and tunnels are explained", async () => {
  const target = createServer((_request, response) => response.end("far away"));
  const gateway = createServer((_request, response) => response.end("not a tunnel"));
  const asked: string[] = [];
  gateway.on("connect", (request: IncomingMessage, socket: Duplex, head: Buffer) => {
    asked.push(request.url!);
    const far = connect(Number(request.url!.split(":")[1]), "127.0.0.1");
    far.once("connect", () => {
      socket.write("HTTP/1.1 200 Connection established\r\n\r\n");
      far.write(head);
      far.pipe(socket).pipe(far);
    });
    for (const side of [far, socket]) side.on("error", () => [far, socket].forEach((one) => one.destroy()));
  });
  await Promise.all([target, gateway].map((server) => once(server.listen(0, "127.0.0.1"), "listening")));
  const port = (server: typeof target): number => (server.address() as AddressInfo).port;
  try {
    await using proxy = await ProxyUnderTest.start({
      upstreams: { gateway: { servers: [`http://127.0.0.1:${port(gateway)}`] } },
      sites: [
        { hosts: ["closed.example"], routes: [{ path: "/*", proxy: { upstream: "gateway" } }] },
        {
          hosts: ["*"],
          routes: [
            { path: "/in/*", internal: true, respond: { body: "in" } },
            { path: "/*", proxy: { upstream: "gateway", connect: true } },
          ],
        },
      ],
    });
    const curl = (url: string): Promise<{ stdout: string }> =>
      run("curl", ["-sS", "--max-time", "10", "--proxytunnel", "--proxy", proxy.url, "--noproxy", "", url]);
    expect((await curl(`http://127.0.0.1:${port(target)}/`)).stdout).toBe("far away");
    expect(asked).toEqual([`127.0.0.1:${port(target)}`]);
    await expect(curl("http://closed.example:80/")).rejects.toThrow(/501/);
    expect(asked).toHaveLength(1);

    const explain = async (...args: string[]): Promise<string> => {
      await using command = new Command("proxy", ["-c", proxy.path("portico.config.json"), "explain", ...args]);
      await command.exited;
      return command.output;
    };
    expect(await explain("CONNECT", "http://far.example:443/")).toMatch(/route {2}sites\[1\]\.routes\[1\]/);
    expect(await explain("CONNECT", "http://closed.example:443/")).toContain("501: no route passes CONNECT on");
    expect(await explain("GET", "http://a/in/x")).toContain("it is internal: only X-Accel-Redirect leads to it");
  } finally {
    for (const server of [target, gateway]) {
      server.closeAllConnections();
      server.close();
    }
  }
});
