/** Connections that must prove something: certificates of `https://` servers, the secret of links over TCP. */
import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { copyFileSync, readFileSync } from "node:fs";
import type http from "node:http";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { join } from "node:path";
import tls, { type TLSSocket } from "node:tls";
import { acceptLink } from "@portico/link/socket";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, Stage, until } from "../proxying/test-front.ts";

let stage: Stage;
beforeEach(() => {
  stage = new Stage();
});
afterEach(() => stage.close());

/** Whether the tool that makes certificates for this test is there. */
function hasOpenssl(): boolean {
  try {
    execFileSync("openssl", ["version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!hasOpenssl())("a server over TLS", () => {
  /** Files of a key and a certificate for a name, signed by itself. */
  function certificate(name = "app.internal"): { key: string; cert: string; keyFile: string; certFile: string } {
    const [keyFile, certFile] = [join(stage.folder, `${name}.key`), join(stage.folder, `${name}.pem`)];
    const how = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=${name}`;
    const alternative = /^[\d.]+$/.test(name) ? `IP:${name}` : `DNS:${name}`;
    execFileSync(
      "openssl",
      [...how.split(" "), "-keyout", keyFile, "-out", certFile, "-addext", `subjectAltName=${alternative}`],
      { stdio: "ignore" },
    );
    return { key: readFileSync(keyFile, "utf8"), cert: readFileSync(certFile, "utf8"), keyFile, certFile };
  }

  interface Secure {
    readonly port: number;
    readonly names: unknown[];
    readonly sockets: TLSSocket[];
    readonly resumed: boolean[];
  }

  async function secureServer(
    pair: https.ServerOptions,
    application: http.RequestListener = (_request, response) => response.end("secure"),
  ): Promise<Secure> {
    const names: unknown[] = [];
    const sockets: TLSSocket[] = [];
    const resumed: boolean[] = [];
    const server = https.createServer(pair, (request, response) => {
      names.push((request.socket as TLSSocket & { servername?: string }).servername);
      application(request, response);
    });
    server.on("secureConnection", (socket) => {
      sockets.push(socket);
      resumed.push(socket.isSessionReused());
    });
    server.on("upgrade", (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n");
      socket.pipe(socket);
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stage.onClose(() => {
      server.closeAllConnections();
      server.close();
    });
    return { port: (server.address() as AddressInfo).port, names, sockets, resumed };
  }

  const lookup = () => Promise.resolve([{ address: "127.0.0.1", family: 4 }]);

  it("must have a certificate for the configured name, whatever Host the client sends", async () => {
    const pair = certificate();
    const { port, names } = await secureServer(pair);
    const front = await stage.front({
      servers: [`https://app.internal:${port}`],
      upstream: { tls: { ca: pair.certFile } },
      lookup,
    });
    await front.resolved();
    for (const host of ["shop.example", "other.example"]) {
      expect((await ask(front.port, { headers: { Host: host } })).text).toBe("secure");
    }
    expect(names).toEqual(["app.internal", "app.internal"]);
  });

  it("is refused with a certificate for another name, even the one the client asks for", async () => {
    const pair = certificate();
    const { port } = await secureServer(pair);
    const front = await stage.front({
      servers: [`https://127.0.0.1:${port}`],
      upstream: { tls: { ca: pair.certFile } },
    });
    expect((await ask(front.port, { headers: { Host: "app.internal" } })).status).toBe(502);
  });

  it("is refused with a certificate that nobody vouches for", async () => {
    const { port, names } = await secureServer(certificate());
    const front = await stage.front({ servers: [`https://app.internal:${port}`], lookup });
    await front.resolved();
    expect((await ask(front.port)).status).toBe(502);
    expect(names).toEqual([]);
    expect(front.logged.find((line) => line["message"] === "request failed")).toMatchObject({ phase: "connect" });
  });

  it("is reached by its address where the certificate names that", async () => {
    const pair = certificate("127.0.0.1");
    const { port, names } = await secureServer(pair);
    const front = await stage.front({
      servers: [`https://127.0.0.1:${port}`],
      upstream: { tls: { ca: pair.certFile } },
    });
    expect((await ask(front.port)).text).toBe("secure");
    expect(names).toEqual([false]);
  });

  it("goes by another name, or is not asked for one, where that is set", async () => {
    const pair = certificate();
    const { port, names } = await secureServer(pair);
    const servers = [`https://127.0.0.1:${port}`];
    const named = await stage.front({ servers, upstream: { tls: { ca: pair.certFile, serverName: "app.internal" } } });
    expect((await ask(named.port)).text).toBe("secure");
    expect(names).toEqual(["app.internal"]);
    const trusting = await stage.front({ servers, upstream: { tls: { verify: false } } });
    expect((await ask(trusting.port)).text).toBe("secure");
  });

  it("gets our certificate where it asks for one", async () => {
    const [pair, own] = [certificate(), certificate("front.internal")];
    const application: http.RequestListener = (request, response) =>
      response.end((request.socket as TLSSocket).getPeerCertificate().subject.CN);
    const { port } = await secureServer({ ...pair, requestCert: true, ca: own.cert }, application);
    const servers = [`https://127.0.0.1:${port}`];
    const tls = { ca: pair.certFile, serverName: "app.internal" };
    const front = await stage.front({
      servers,
      upstream: { tls: { ...tls, certificate: own.certFile, key: own.keyFile } },
    });
    expect((await ask(front.port)).text).toBe("front.internal");
    const nobody = await stage.front({ servers, upstream: { tls } });
    expect((await ask(nobody.port)).status).toBe(502);
  });

  it("carries bodies, tunnels and a kept connection; the next connection resumes the session", async () => {
    const pair = certificate();
    const secure = await secureServer(pair, (request, response) => {
      if (request.url === "/close") response.setHeader("Connection", "close");
      request.pipe(response);
    });
    const front = await stage.front({
      servers: [`https://127.0.0.1:${secure.port}`],
      upstream: { tls: { ca: pair.certFile, serverName: "app.internal" } },
    });
    const body = randomBytes(3_000_000);
    for (let count = 0; count < 2; count++) {
      expect((await ask(front.port, { method: "POST", body })).body.equals(body)).toBe(true);
    }
    const chunked = await ask(front.port, { method: "POST", chunks: ["one", "two"], path: "/close" });
    expect(chunked.text).toBe("onetwo");
    expect(secure.sockets).toHaveLength(1);
    expect((await ask(front.port, { method: "POST", body: "again" })).text).toBe("again");
    expect(secure.resumed).toEqual([false, true]);
    expect(secure.sockets[1]!.alpnProtocol).toBe("http/1.1");

    const socket = net.connect(front.port, "127.0.0.1");
    let text = "";
    socket.on("data", (part) => (text += String(part)));
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nhello");
    await until(() => text.endsWith("hello"), "the tunnel echoes");
    socket.destroy();
  });

  it("is not spoken to in a form that our own parser refuses", async () => {
    const pair = certificate();
    const server = tls.createServer(pair, (socket) => {
      socket.on("error", () => {});
      socket.once("data", () => socket.write("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"));
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stage.onClose(() => void server.close());
    const front = await stage.front({
      servers: [`https://127.0.0.1:${(server.address() as AddressInfo).port}`],
      upstream: { tls: { ca: pair.certFile, serverName: "app.internal" } },
    });
    expect((await ask(front.port)).status).toBe(502);
    expect(front.records.at(-1)!.failure).toBe("bad-response: request");
  });

  it("is met with a new certificate when the files have changed and the configuration is taken again", async () => {
    const [first, second] = [certificate(), certificate("other.internal")];
    const { port } = await secureServer(second);
    const front = await stage.front({
      servers: [`https://127.0.0.1:${port}`],
      upstream: { tls: { ca: first.certFile, serverName: "other.internal" } },
    });
    expect((await ask(front.port)).status).toBe(502);
    copyFileSync(second.certFile, first.certFile);
    front.registry.apply({ app: front.upstream.settings }, 1_000);
    expect((await ask(front.port)).text).toBe("secure");
  });

  it("needs files that can be read, and says which cannot", async () => {
    const front = await stage.front({ servers: ["http://127.0.0.1:1"] });
    const { settings } = front.upstream;
    const broken = { ...settings, servers: [{ ...settings.servers[0]!, address: "https://a.internal" }] };
    expect(() => front.registry.check({ api: { ...broken, tls: { verify: true, ca: "/nowhere.pem" } } })).toThrow(
      /upstreams\.api\.tls: ca: .*nowhere\.pem/,
    );
  });
});

describe("a link over TCP", () => {
  const SECRET = "a secret of sixteen bytes and more";

  async function linkServer(secret: string): Promise<string> {
    const server = net.createServer((socket) => {
      acceptLink(socket, (exchange) => exchange.respond(200, [], "linked"), {
        worker: { id: 1, generation: 1, count: 1, concurrency: 10 },
        secret,
      });
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stage.onClose(() => void server.close());
    return `link://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  it("proves its secret", async () => {
    const front = await stage.front({ servers: [await linkServer(SECRET)], linkSecret: SECRET });
    expect((await ask(front.port)).text).toBe("linked");
  });

  it("is refused with another secret, or none", async () => {
    for (const linkSecret of ["another secret of sixteen bytes", undefined]) {
      const front = await stage.front({ servers: [await linkServer(SECRET)], linkSecret });
      expect((await ask(front.port)).status).toBe(502);
    }
  });

  it("that never answers is given up after the time to connect", async () => {
    const silent = await stage.rawBackend(() => {});
    const front = await stage.front({
      servers: [silent.address.replace("http:", "link:")],
      upstream: { connectTimeout: "200ms" },
    });
    const at = performance.now();
    expect((await ask(front.port)).status).toBe(504);
    expect(performance.now() - at).toBeLessThan(2_000);
  });
});
