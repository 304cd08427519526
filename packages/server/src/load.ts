/** In the worker: imports the module and finds the application in it. */
import { pathToFileURL } from "node:url";
import type { ListenCapture } from "@portico/gateway/node";
import { type FunctionInterface, type Recognised, recognise, recogniseCaptured } from "./application-kind.ts";
import { PorticoServerError } from "./error.ts";
import type { ModuleSpecifier } from "./module-specifier.ts";
import { nearest } from "@portico/supervisor/nearest";
import { describeLoadError } from "./source-line.ts";

/** Names under which an application is looked for where there is no default export. */
const USUAL_NAMES = ["app", "application", "server", "handler"];
/** How long a program that is still at work may take until it listens, milliseconds, and how often it is looked at. */
const LISTEN_WAIT_MS = 10_000;
const LISTEN_LOOK_MS = 10;

/**
 * Imports `spec.file` and recognises what is in it. A server that listened while loading comes before exports, because
 * what a program attached to it (WebSocket, timeouts) would else be lost; an export that was named comes before all.
 * @throws PorticoServerError `app-…`
 */
export async function loadApplication(
  spec: ModuleSpecifier,
  wanted: FunctionInterface,
  capture: ListenCapture,
): Promise<Recognised> {
  const before = activeResources();
  try {
    const exports = (await import(pathToFileURL(spec.file).href)) as Record<string, unknown>;
    const found =
      spec.exportName === undefined
        ? (listened(capture) ?? (await findExport(exports, wanted)))
        : await recogniseExport(exports, spec, wanted, capture);
    if (found !== undefined) return found;
    await listening(capture, before);
    const late = listened(capture);
    if (late !== undefined) return late;
    throw withoutHandler(spec, exports);
  } catch (error) {
    throw describeLoadError(error, spec.written, spec.file);
  }
}

/** The program's own server, once it has called `listen`. */
function listened(capture: ListenCapture): Recognised | undefined {
  const [first] = capture.servers;
  return first && recogniseCaptured(first);
}

/** The default export, else one of the usual names, else the module itself where it has `fetch`. */
async function findExport(
  exports: Record<string, unknown>,
  wanted: FunctionInterface,
): Promise<Recognised | undefined> {
  const main = await unwrapDefault(exports);
  const found = recognise(main, wanted);
  if (found !== undefined) return found;
  for (const holder of [exports, isRecord(main) ? main : {}])
    for (const name of USUAL_NAMES) {
      const named = recognise(await holder[name], wanted);
      if (named !== undefined) return named;
    }
  return typeof exports["fetch"] === "function" ? recognise(exports, wanted) : undefined;
}

/** CommonJS compiled from ES modules hides the default one level deeper. A promise is waited for. */
async function unwrapDefault(exports: Record<string, unknown>): Promise<unknown> {
  const value = await exports["default"];
  if (isRecord(value) && value["__esModule"] === true && "default" in value) return await value["default"];
  return value;
}

async function recogniseExport(
  exports: Record<string, unknown>,
  spec: ModuleSpecifier,
  wanted: FunctionInterface,
  capture: ListenCapture,
): Promise<Recognised | undefined> {
  const path = spec.exportName!.split(".");
  const main = await unwrapDefault(exports);
  const inside = isRecord(main) && exports[path[0]!] === undefined && main[path[0]!] !== undefined;
  let value: unknown = inside ? main : exports;
  for (const name of path) {
    const holder: unknown = value;
    value = isRecord(holder) || typeof holder === "function" ? (holder as Record<string, unknown>)[name] : undefined;
    if (value === undefined) throw missingExport(spec, name, holder);
  }
  if (spec.factory) {
    if (typeof value !== "function")
      throw new PorticoServerError(
        "app-no-handler",
        `${spec.written}: ${spec.exportName} is no function that could be called`,
      );
    value = (value as () => unknown)();
  }
  value = await value;
  const found = recognise(value, wanted) ?? listened(capture);
  if (found === undefined)
    throw new PorticoServerError("app-no-handler", `${spec.written}: ${kindOf(value)} is no application (${EXPECTED})`);
  return found;
}

const EXPECTED =
  "expected a function (request, ctx), an object with fetch, an Express, Koa or Fastify app, or an http.Server";

/**
 * Waits for a program that listens later than it loads, as long as it has something under way: a program without a
 * timer, socket or other work would have ended by now if it ran alone.
 */
async function listening(capture: ListenCapture, before: ReadonlyMap<string, number>): Promise<void> {
  const deadline = performance.now() + LISTEN_WAIT_MS;
  while (capture.servers.length === 0 && performance.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, LISTEN_LOOK_MS));
    if (!isBusy(before)) return;
  }
}

function isBusy(before: ReadonlyMap<string, number>): boolean {
  for (const [kind, count] of activeResources()) if (count > (before.get(kind) ?? 0)) return true;
  return false;
}

function activeResources(): Map<string, number> {
  const counts = new Map<string, number>();
  for (const kind of process.getActiveResourcesInfo()) counts.set(kind, (counts.get(kind) ?? 0) + 1);
  return counts;
}

function missingExport(spec: ModuleSpecifier, name: string, holder: unknown): PorticoServerError {
  const names = isRecord(holder) ? Object.keys(holder).filter((key) => key !== "module.exports") : [];
  const near = nearest(name, names);
  const hint =
    near === undefined ? (names.length === 0 ? "" : ` (it has ${names.join(", ")})`) : ` (did you mean "${near}"?)`;
  return new PorticoServerError("app-missing", `${spec.written}: there is no export "${name}"${hint}`);
}

function withoutHandler(spec: ModuleSpecifier, exports: Record<string, unknown>): PorticoServerError {
  const names = Object.keys(exports).filter((name) => name !== "module.exports");
  const has = names.length === 0 ? "exports nothing" : `exports ${names.join(", ")}`;
  const factory = names.find((name) => /^(create|make|build)/.test(name) && typeof exports[name] === "function");
  const hint = factory === undefined ? "" : `; for a factory, name it: ${spec.written}:${factory}()`;
  return new PorticoServerError(
    "app-no-handler",
    `${spec.written} has no application: it ${has}, and did not call listen() (${EXPECTED})${hint}`,
  );
}

function kindOf(value: unknown): string {
  return value === null ? "null" : typeof value === "object" ? "an object" : `a ${typeof value}`;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null;
}
