import { PorticoGatewayError } from "../errors.ts";
import type { Capabilities, Capability } from "../context.ts";
import { ask } from "./wire.ts";

/** A server that serves `conformanceApplication` in one worker. */
export interface ConformanceTarget {
  /** `http://host:port`, without path. */
  readonly url: string;
}

export interface ConformanceCase {
  /** Number of the sentence in docs/spec/tsgi.md, with a letter where it has several cases. */
  readonly id: string;
  readonly title: string;
  /** Holds only where nothing is between the client and the server: a front may buffer, or write fields its own way. */
  readonly direct: boolean;
  /** The case is void where the server declares this capability absent. */
  readonly capability: Capability | undefined;
  /** Resolves when the server conforms; rejects with `NOT_CONFORMING`, whose message says what was seen. */
  readonly run: (this: void, target: ConformanceTarget) => Promise<void>;
}

/** Writes a case. */
export function conformanceCase(
  id: `T${string}`,
  title: string,
  check: (base: string) => Promise<void>,
  options: { readonly direct?: boolean; readonly capability?: Capability } = {},
): ConformanceCase {
  const { capability } = options;
  return {
    id,
    title,
    direct: options.direct ?? false,
    capability,
    run: async ({ url }): Promise<void> => {
      if (capability !== undefined && !(await capabilitiesOf(url))[capability]) return;
      await check(url);
    },
  };
}

/** Capabilities that the server under test declares. */
export async function capabilitiesOf(base: string): Promise<Capabilities> {
  const spec = (await askJson(base, "/spec")) as { capabilities: Capabilities };
  return spec.capabilities;
}

/** Fails the case when two values are not the same as JSON. */
export function same(seen: unknown, expected: unknown, what: string): void {
  const [a, b] = [JSON.stringify(seen), JSON.stringify(expected)];
  if (a !== b) throw new PorticoGatewayError("NOT_CONFORMING", `${what}: expected ${b}, saw ${a}`);
}

/** Fails the case when a condition does not hold. */
export function holds(condition: boolean, what: string): void {
  if (!condition) throw new PorticoGatewayError("NOT_CONFORMING", what);
}

/** Asks for JSON and fails the case when the answer is not 200. */
export async function askJson(base: string, target: string, options: Parameters<typeof ask>[2] = {}): Promise<unknown> {
  const response = await ask(base, target, options);
  same(response.status, 200, `status of ${target}`);
  return JSON.parse(response.body.toString("utf8"));
}

let tokens = 0;

/** A name for one run of one case. */
export function freshToken(): string {
  tokens += 1;
  return `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}-${tokens}`;
}

/** Time the application is given to note something, milliseconds, and how often it is asked. */
const NOTE_PATIENCE_MS = 4_000;
const NOTE_INTERVAL_MS = 20;

/** Waits until the application has noted at least `count` things under a token. */
export async function notesOf(base: string, token: string, count: number): Promise<string[]> {
  const until = Date.now() + NOTE_PATIENCE_MS;
  for (;;) {
    const notes = (await askJson(base, `/notes?token=${token}`)) as string[];
    if (notes.length >= count || Date.now() > until) return notes;
    await pause(NOTE_INTERVAL_MS);
  }
}

export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
