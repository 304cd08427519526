/**
 * Differential: whatever our parser accepts, node:http's strict parser (llhttp) reads as the very same messages, or refuses.
 * `PORTICO_SEED` repeats a run, `PORTICO_LONG=1` makes it a million cases.
 */
import * as fc from "fast-check";
import { expect, test } from "vitest";
import { type EngineReading, readByEngine } from "../support/peers/engine.ts";
import { cases, type Case, pieces } from "../support/peers/mutation.ts";
import { readByNode } from "../support/peers/node-http.ts";
import { LONG, SEED } from "../support/peers/effort.ts";

const CASES = LONG ? 1_000_000 : 20_000;

/** Absolute-form goes to node:http's handlers as it came; ours see origin-form (RFC 9112 §3.2.2). */
function originForm(method: string, target: string): string {
  const absolute = /^https?:\/\/[^/?]*(.*)$/i.exec(target);
  if (absolute === null) return target;
  const rest = absolute[1]!;
  if (rest === "") return method === "OPTIONS" ? "*" : "/";
  return rest.startsWith("/") ? rest : `/${rest}`;
}

const counts = { accepted: 0, refused: 0, switched: 0 };
/** What node:http refuses though we do not, by the code of its error. */
const theirRefusals = new Map<string, number>();

async function compare(each: Case): Promise<void> {
  const whole = [Buffer.from(each.text, "latin1")];
  const ours = readByEngine(pieces(each));
  expect(ours, "however it is cut").toEqual(readByEngine(whole));
  if (ours.messages.length === 0) {
    counts.refused++;
    return;
  }
  const theirs = await readByNode(whole);
  for (const [index, message] of ours.messages.entries()) {
    // Without somebody who accepts it, CONNECT ends the connection there.
    if (message.method === "CONNECT") return void counts.switched++;
    const read = theirs.messages[index];
    if (read === undefined && theirs.error !== undefined) {
      theirRefusals.set(theirs.error, (theirRefusals.get(theirs.error) ?? 0) + 1);
      return;
    }
    expect(
      read && { ...read, target: originForm(read.method, read.target) },
      `message ${index}: ${theirs.error}`,
    ).toEqual(comparable(message));
    counts.accepted++;
    // What follows is for the new protocol, or for nobody until the application has declined it.
    if (message.switches) return void counts.switched++;
  }
}

function comparable({ method, target, fields, body, trailers }: EngineReading): object {
  return { method, target, fields, body, trailers };
}

test(
  `what we accept, node:http reads as the same: ${CASES} cases`,
  { timeout: LONG ? 3_600_000 : 60_000 },
  async () => {
    await fc.assert(fc.asyncProperty(cases, compare), { numRuns: CASES, seed: SEED });
    console.log(`strict parsers: PORTICO_SEED=${SEED}`, counts, "refused by node:http alone:", theirRefusals);
    // A generator that makes nothing valid, or nothing invalid, would prove nothing.
    expect(counts.accepted).toBeGreaterThan(CASES / 10);
    expect(counts.refused).toBeGreaterThan(CASES / 10);
    const alone = [...theirRefusals.values()].reduce((sum, count) => sum + count, 0);
    expect(alone).toBeLessThan(counts.accepted / 10);
  },
);
