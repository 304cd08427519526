/** Names of servers, as a name server on loopback has them: followed while they change. */
import dgram from "node:dgram";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { configSchema } from "../config/schema.ts";
import { ask, Stage, until } from "../proxying/test-front.ts";
import { createResolver, type NameResolver } from "./resolver.ts";

const TYPES = { A: 1, SRV: 33, AAAA: 28 } as const;
const OK = 0;
const NXDOMAIN = 3;
const SERVFAIL = 2;

interface Answer {
  readonly type: keyof typeof TYPES;
  readonly ttl: number;
  readonly data: Buffer;
}

const nameBytes = (name: string): Buffer =>
  Buffer.concat([
    ...name.split(".").flatMap((label) => [Buffer.from([label.length]), Buffer.from(label)]),
    Buffer.from([0]),
  ]);

const a = (address: string, ttl = 1): Answer => ({ type: "A", ttl, data: Buffer.from(address.split(".").map(Number)) });

function srv(name: string, port: number, priority = 0, weight = 1, ttl = 1): Answer {
  const numbers = Buffer.alloc(6);
  numbers.writeUInt16BE(priority, 0);
  numbers.writeUInt16BE(weight, 2);
  numbers.writeUInt16BE(port, 4);
  return { type: "SRV", ttl, data: Buffer.concat([numbers, nameBytes(name)]) };
}

/** A name server that knows what the test tells it (RFC 1035, the little of it that is needed). */
class NameServer {
  readonly names = new Map<string, Answer[]>();
  /** Answers nothing: as if it were not there. */
  silent = false;
  failing = false;
  asked: string[] = [];
  readonly #socket = dgram.createSocket("udp4");

  async start(): Promise<string> {
    this.#socket.on("message", (query, from) => {
      const reply = this.#answer(query);
      if (!this.silent) this.#socket.send(reply, from.port, from.address);
    });
    await new Promise<void>((resolve) => this.#socket.bind(0, "127.0.0.1", resolve));
    return `127.0.0.1:${this.#socket.address().port}`;
  }

  stop(): void {
    this.#socket.close();
  }

  #answer(query: Buffer): Buffer {
    const labels: string[] = [];
    let at = 12;
    for (let length = query[at]!; length > 0; length = query[at]!) {
      labels.push(query.toString("latin1", at + 1, at + 1 + length));
      at += length + 1;
    }
    const name = labels.join(".").toLowerCase();
    const type = query.readUInt16BE(at + 1);
    this.asked.push(name);
    const known = this.names.get(name);
    const answers = (known ?? []).filter((one) => TYPES[one.type] === type);
    const head = Buffer.from(query.subarray(0, 12));
    head.writeUInt16BE(0x8180 | (this.failing ? SERVFAIL : known === undefined ? NXDOMAIN : OK), 2);
    head.writeUInt16BE(this.failing ? 0 : answers.length, 6);
    head.writeUInt16BE(0, 8);
    head.writeUInt16BE(0, 10);
    const records = answers.map(({ ttl, data }) => {
      const record = Buffer.alloc(12);
      record.writeUInt16BE(0xc00c, 0);
      record.writeUInt16BE(type, 2);
      record.writeUInt16BE(1, 4);
      record.writeUInt32BE(ttl, 6);
      record.writeUInt16BE(data.length, 10);
      return Buffer.concat([record, data]);
    });
    return Buffer.concat([head, query.subarray(12, at + 5), ...(this.failing ? [] : records)]);
  }
}

let stage: Stage;
let dns: NameServer;
let resolver: NameResolver;
beforeEach(async () => {
  stage = new Stage();
  dns = new NameServer();
  const servers = [await dns.start()];
  const config = configSchema.parse({
    resolver: { servers, timeout: "300ms" },
    sites: [{ hosts: ["*"], routes: [{ path: "/*", respond: {} }] }],
  });
  resolver = createResolver(() => config.resolver);
});
afterEach(async () => {
  await stage.close();
  dns.stop();
});

/** Servers on several loopback addresses and one port, that say where they are. */
async function servers(hosts: readonly string[], hold?: (response: http.ServerResponse) => boolean): Promise<number> {
  let port = 0;
  for (const host of hosts) {
    const server = http.createServer((_request, response) => {
      if (hold?.(response) !== true) response.end(host);
    });
    await new Promise<void>((resolve) => server.listen(port, host, resolve));
    port = (server.address() as AddressInfo).port;
    stage.onClose(() => {
      server.closeAllConnections();
      server.close();
    });
  }
  return port;
}

describe("a name", () => {
  it("that does not resolve is no reason not to start; the error names it, and it is found when it is there", async () => {
    const port = await servers(["127.0.0.2"]);
    const front = await stage.front({ servers: [`http://app.internal:${port}`], resolver });
    const early = await ask(front.port);
    expect([early.status, early.headers["retry-after"]]).toEqual([503, "1"]);
    expect(front.logged.find((line) => line["message"] === "name does not resolve yet")).toMatchObject({
      upstream: "app",
      host: "app.internal",
      reason: "there is no such name (ENOTFOUND)",
    });
    dns.names.set("app.internal", [a("127.0.0.2")]);
    await front.resolved();
    expect((await ask(front.port)).text).toBe("127.0.0.2");
  });

  it("is followed by its time to live: new addresses are used, old ones finish what they have", async () => {
    const held: http.ServerResponse[] = [];
    let hold = false;
    const port = await servers(["127.0.0.2", "127.0.0.3"], (response) => {
      if (hold) held.push(response);
      return hold;
    });
    dns.names.set("app.internal", [a("127.0.0.2")]);
    const front = await stage.front({ servers: [`http://app.internal:${port}`], resolver });
    await front.resolved();
    expect((await ask(front.port)).text).toBe("127.0.0.2");
    hold = true;
    const waiting = ask(front.port);
    waiting.catch(() => {});
    await until(() => held.length === 1, "one is under way");
    hold = false;
    dns.names.set("app.internal", [a("127.0.0.3")]);
    const at = performance.now();
    await until(() => front.upstream.members[0]?.address.includes("127.0.0.3") === true, "the new address");
    // One second is its time to live; without it three seconds would pass.
    expect(performance.now() - at).toBeLessThan(2_500);
    expect(front.upstream.members).toHaveLength(1);
    for (let count = 0; count < 3; count++) expect((await ask(front.port)).text).toBe("127.0.0.3");
    held[0]!.end("late");
    expect((await waiting).text).toBe("late");
  });

  it.each(["silent", "failing"] as const)("keeps what was known while the name server is %s", async (how) => {
    const port = await servers(["127.0.0.2"]);
    dns.names.set("app.internal", [a("127.0.0.2")]);
    const front = await stage.front({ servers: [`http://app.internal:${port}`], resolver });
    await front.resolved();
    dns[how] = true;
    const warned = (): Record<string, unknown> | undefined =>
      front.logged.find((line) => String(line["message"]).startsWith("name cannot be looked up"));
    await until(() => warned() !== undefined, "it is noticed");
    expect(warned()).toMatchObject({
      host: "app.internal",
      reason: how === "silent" ? "no name server answered in time (ETIMEOUT)" : "the name server failed (ESERVFAIL)",
    });
    expect((await ask(front.port)).text).toBe("127.0.0.2");
    dns[how] = false;
  });
});

describe("SRV records", () => {
  it("give servers, ports and weights; a lower priority stands by", async () => {
    const [heavy, light, spare] = [
      await servers(["127.0.0.2"]),
      await servers(["127.0.0.3"]),
      await servers(["127.0.0.4"]),
    ];
    dns.names.set("a.internal", [a("127.0.0.2")]);
    dns.names.set("b.internal", [a("127.0.0.3")]);
    dns.names.set("c.internal", [a("127.0.0.4")]);
    dns.names.set("_http._tcp.app.internal", [
      srv("a.internal", heavy, 10, 3),
      srv("b.internal", light, 10, 1),
      srv("c.internal", spare, 20, 1),
    ]);
    const front = await stage.front({
      servers: ["http+srv://_http._tcp.app.internal"],
      upstream: { balance: "round-robin" },
      resolver,
    });
    await front.resolved();
    const texts: string[] = [];
    for (let count = 0; count < 8; count++) texts.push((await ask(front.port)).text);
    expect(texts.filter((text) => text === "127.0.0.2")).toHaveLength(6);
    expect(texts.filter((text) => text === "127.0.0.3")).toHaveLength(2);
    expect(front.upstream.status().servers.map(({ backup, weight }) => [backup, weight])).toEqual([
      [false, 3],
      [false, 1],
      [true, 1],
    ]);
    dns.names.set("_http._tcp.app.internal", [srv("c.internal", spare, 10)]);
    await until(() => front.upstream.members.length === 1, "the change is seen");
    expect((await ask(front.port)).text).toBe("127.0.0.4");
  });
});

it("the system's resolver is asked where no servers are set", async () => {
  const config = configSchema.parse({ sites: [{ hosts: ["*"], routes: [{ path: "/*", respond: {} }] }] });
  const system = createResolver(() => config.resolver);
  const found = await system.addresses("localhost");
  expect(found.every(({ address }) => net.isIP(address) > 0)).toBe(true);
  expect(found[0]).not.toHaveProperty("ttl");
});
