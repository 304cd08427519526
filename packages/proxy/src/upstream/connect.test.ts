/** Connections that must prove something: certificates of `https://` servers, the secret of links over TCP. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TLSSocket } from "node:tls";
import { acceptLink } from "@portico/link/socket";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask, Stage } from "../proxying/test-front.ts";

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
  /** A certificate for `app.internal`, signed by itself. */
  function certificate(): { key: string; cert: string } {
    const folder = mkdtempSync(join(tmpdir(), "portico-certificate-"));
    const [key, cert] = [join(folder, "key.pem"), join(folder, "cert.pem")];
    const how = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=app.internal";
    execFileSync(
      "openssl",
      [...how.split(" "), "-keyout", key, "-out", cert, "-addext", "subjectAltName=DNS:app.internal"],
      { stdio: "ignore" },
    );
    const pair = { key: readFileSync(key, "utf8"), cert: readFileSync(cert, "utf8") };
    rmSync(folder, { recursive: true });
    return pair;
  }

  async function secureServer(pair: { key: string; cert: string }): Promise<{ port: number; names: unknown[] }> {
    const names: unknown[] = [];
    const server = https.createServer(pair, (request, response) => {
      names.push((request.socket as TLSSocket & { servername?: string }).servername);
      response.end("secure");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    stage.onClose(() => {
      server.closeAllConnections();
      server.close();
    });
    return { port: (server.address() as AddressInfo).port, names };
  }

  const lookup = () => Promise.resolve([{ address: "127.0.0.1", family: 4 }]);

  it("must have a certificate for the configured name, whatever Host the client sends", async () => {
    const pair = certificate();
    const { port, names } = await secureServer(pair);
    const front = await stage.front({ servers: [`https://app.internal:${port}`], ca: pair.cert, lookup });
    await front.resolved();
    for (const host of ["shop.example", "other.example"]) {
      expect((await ask(front.port, { headers: { Host: host } })).text).toBe("secure");
    }
    expect(names).toEqual(["app.internal", "app.internal"]);
  });

  it("is refused with a certificate for another name, even the one the client asks for", async () => {
    const pair = certificate();
    const { port } = await secureServer(pair);
    const front = await stage.front({ servers: [`https://127.0.0.1:${port}`], ca: pair.cert, lookup });
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
