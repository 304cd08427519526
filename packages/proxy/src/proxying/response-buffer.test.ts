import { Buffer } from "node:buffer";
import { execFile } from "node:child_process";
import { randomBytes } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ResponseBuffer, type ResponseFlow } from "./response-buffer.ts";

let folder: string;
beforeEach(() => {
  folder = join(mkdtempSync(join(tmpdir(), "portico-response-")), "made-when-needed");
});
afterEach(() => rmSync(join(folder, ".."), { recursive: true, force: true }));

/** A client that takes what it is told to. */
class Client implements ResponseFlow {
  readonly taken: Buffer[] = [];
  accepts = false;
  given = 0;
  ended = false;
  slow = "";
  over: Promise<string>;
  #settle: (how: string) => void;

  constructor() {
    const { promise, resolve } = Promise.withResolvers<string>();
    this.over = promise;
    this.#settle = resolve;
  }
  deliver(chunk: Uint8Array): boolean {
    this.taken.push(Buffer.from(chunk));
    return this.accepts;
  }
  consumed(bytes: number): void {
    this.given += bytes;
  }
  delivered(): void {
    this.ended = true;
    this.#settle("delivered");
  }
  slowed(error: Error): void {
    this.slow = error.message;
  }
  failed(error: Error): void {
    this.#settle(error.message);
  }
}

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 60));

describe("ResponseBuffer", () => {
  it("stays in memory up to its limit, and gives the server its room back at once", async () => {
    const client = new Client();
    const buffer = new ResponseBuffer({ memory: 1_000, disk: 10_000, folder }, client);
    buffer.add(Buffer.alloc(600));
    buffer.add(Buffer.alloc(400));
    expect(buffer.spilled).toBe(false);
    expect(client.given).toBe(1_000);
    buffer.add(Buffer.alloc(1));
    expect(buffer.spilled).toBe(true);
    await settle();
    expect(readdirSync(folder)).toEqual([]);
    buffer.destroy();
  });

  it("stops the server when memory and disk are full, and lets it go on as the client takes", async () => {
    const client = new Client();
    const buffer = new ResponseBuffer({ memory: 1_000, disk: 100_000, folder }, client);
    for (let sent = 0; sent < 30; sent++) buffer.add(Buffer.alloc(5_000));
    await settle();
    expect(client.given).toBeLessThan(150_000);
    const before = client.given;
    client.accepts = true;
    buffer.drained();
    buffer.finish([]);
    expect(await client.over).toBe("delivered");
    expect(Buffer.concat(client.taken)).toHaveLength(150_000);
    expect(client.given).toBeGreaterThan(before);
  });

  it("without a disk gives room back only for what was delivered", () => {
    const client = new Client();
    const buffer = new ResponseBuffer({ memory: 1_000, disk: 0, folder }, client);
    buffer.add(Buffer.alloc(5_000));
    buffer.add(Buffer.alloc(5_000));
    expect(client.given).toBe(0);
    buffer.drained();
    expect(client.given).toBe(5_000);
    buffer.drained();
    expect(client.given).toBe(10_000);
    expect(existsSync(folder)).toBe(false);
  });

  it("keeps the order, whatever the pace of either side", async () => {
    for (let round = 0; round < 30; round++) {
      const client = new Client();
      const buffer = new ResponseBuffer({ memory: 3_000, disk: 1_000_000, folder }, client);
      const parts = Array.from({ length: 60 }, () => randomBytes(1 + Math.floor(Math.random() * 4_000)));
      for (const part of parts) {
        buffer.add(part);
        client.accepts = Math.random() < 0.5;
        if (Math.random() < 0.4) buffer.drained();
        if (Math.random() < 0.2) await new Promise((resolve) => setImmediate(resolve));
      }
      buffer.finish([]);
      while (!client.ended) {
        buffer.drained();
        await new Promise((resolve) => setImmediate(resolve));
      }
      expect(await client.over).toBe("delivered");
      expect(Buffer.concat(client.taken).equals(Buffer.concat(parts))).toBe(true);
    }
  });

  it("goes on at the client's pace when the disk takes nothing", async () => {
    const client = new Client();
    const buffer = new ResponseBuffer({ memory: 10, disk: 100_000, folder: "/dev/null/nowhere" }, client);
    const parts = Array.from({ length: 10 }, () => randomBytes(1_000));
    for (const part of parts.slice(0, 5)) buffer.add(part);
    await settle();
    expect(client.slow).toMatch(/ENOTDIR|ENOENT/);
    const given = client.given;
    for (const part of parts.slice(5)) buffer.add(part);
    expect(client.given).toBe(given);
    client.accepts = true;
    buffer.drained();
    buffer.finish([]);
    expect(await client.over).toBe("delivered");
    expect(Buffer.concat(client.taken).equals(Buffer.concat(parts))).toBe(true);
    expect(client.given).toBe(10_000);
  });

  it.skipIf(process.platform !== "linux")(
    "goes on at the client's pace when the disk is full in the middle",
    async () => {
      // A file system of 64 KiB would need a mount; a limit of the process on the size of its files is the same to us.
      const script = new URL("./test-full-disk.ts", import.meta.url).pathname;
      const command = `ulimit -f 64; exec "$0" --conditions=@portico/source "$1" "$2"`;
      const { stdout } = await promisify(execFile)("bash", [
        "-c",
        command,
        process.execPath,
        script,
        join(folder, ".."),
      ]);
      expect(JSON.parse(stdout)).toEqual({ over: "delivered", equal: true, slowed: "EFBIG" });
    },
  );
});
