/**
 * The corpus of malformed requests (`test/corpus/http1/invalid`, see its README) on the wire: each is answered with the
 * status of its rule, once, and the connection is closed, whichever tier the client meets.
 */
import { readFileSync, readdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { RULES, type Rule } from "@portico/http1";
import { RawClient } from "../support/raw.ts";
import { type Target, targets } from "../support/targets.ts";

const FOLDER = new URL("../corpus/http1/invalid/", import.meta.url);
/** A body that breaks a rule may come when the application has answered already. */
const IN_BODY = /^rfc9112-(?:7|8)|^limit-(?:chunk|trailer)|trailer|chunk|inside-body/;

interface Case {
  readonly name: string;
  readonly bytes: Buffer;
  readonly before: number;
}

const files = new Set(readdirSync(FOLDER));
const cases: Case[] = [...files]
  .filter((file) => file.endsWith(".http"))
  .map((file) => {
    const name = file.slice(0, -".http".length);
    const beside = files.has(`${name}.json`) ? readFileSync(new URL(`${name}.json`, FOLDER), "utf8") : "{}";
    const { messagesBefore = 0 } = JSON.parse(beside) as { messagesBefore?: number };
    return { name, bytes: readFileSync(new URL(file, FOLDER)), before: messagesBefore };
  });

describe.each(targets)("$name", (kind) => {
  let target: Target;
  beforeAll(async () => {
    target = await kind.start();
  });
  afterAll(() => target[Symbol.asyncDispose]());

  test.each(cases)("$name", async ({ name, bytes, before }) => {
    const rule = name.split("--")[0] as Rule;
    using client = await RawClient.open(target.url);
    client.send(bytes);
    // What is incomplete is so only when no more comes; everything else is refused without waiting for that.
    if (rule === "rfc9112-8-incomplete") client.socket.end();
    const received = await client.closed();
    const statuses = [...received.matchAll(/HTTP\/1\.1 (\d{3}) /g)].map(([, status]) => Number(status));
    if (rule === "rfc9112-8-incomplete") {
      expect(statuses.length).toBeLessThanOrEqual(before + 1);
      expect(received).not.toMatch(/HTTP\/1\.1 (?:[15]\d\d|4(?!04))/);
      return;
    }
    expect(statuses.length, received).toBeLessThanOrEqual(before + 1);
    if (statuses.at(-1) !== RULES[rule][0]) expect(name).toMatch(IN_BODY);
    else expect(statuses).toHaveLength(before + 1);
    expect(received).not.toMatch(/ at .*\.(?:ts|js):\d+/);
  });
});
