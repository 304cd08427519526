/** The configuration of the front that stands before the application. */
import { statSync } from "node:fs";
import { type ConfigProblem, type ConfigSource, loadConfig, type ProxyConfig, PorticoProxyError } from "@portico/proxy";
import type { ServeOptions } from "./command.ts";
import { PorticoError } from "./error.ts";

/** Loopback only: who wants the world to see it says so with --listen. */
const DEFAULT_LISTEN = "127.0.0.1:8080";

/** One block says that all is well; what a start or a stop does in detail is for those who ask for it. */
export const QUIET_LEVEL = "warn";

/**
 * With a file: that file, in which the upstream `app` is the application; flags go before what it says. Without: one
 * site for every name, files of --static first, the application for all else.
 *
 * @param link address of the application server, `link+unix:/path`
 */
export function frontSource(options: ServeOptions, link: string): ConfigSource {
  const app = { servers: [link] };
  if (options.config !== undefined) {
    const file = options.config;
    return { file, adjust: (written) => (isObject(written) ? withApplication(file, written, options, app) : written) };
  }
  const files: ProxyConfig["sites"][number]["routes"] =
    options.static === undefined
      ? []
      : [
          {
            path: "/*",
            methods: ["GET"],
            static: { root: options.static, cacheControl: "immutable", fallthrough: true },
          },
        ];
  return {
    listen: [DEFAULT_LISTEN],
    ...fromFlags(options, {}),
    upstreams: { app },
    sites: [{ hosts: ["*"], routes: [...files, { path: "/*", proxy: { upstream: "app" } }] }],
  };
}

/** Where in the configuration a flag's value stands. */
const FLAGS = [
  { flag: "--listen", option: "listen", path: /^listen\[(\d+)\]/ },
  { flag: "--threads", option: "threads", path: /^threads$/ },
  { flag: "--access-log", option: "accessLog", path: /^log\.access$/ },
  { flag: "--body-size", option: "bodySize", path: /^limits\.bodySize$/ },
] as const;

/**
 * Finds what is wrong with the front's configuration before anything runs or changes.
 * @throws {PorticoError} `usage` where it came from a flag: a person wrote `--listen`, not `listen[0]`
 * @throws {PorticoProxyError} `config-…` else
 */
export async function checkFront(options: ServeOptions, source: ConfigSource): Promise<void> {
  if (options.static !== undefined) checkFolder(options.static);
  try {
    await loadConfig(source);
  } catch (error) {
    const problems = error instanceof PorticoProxyError ? error.problems : [];
    const words = problems.flatMap((problem) => flagProblem(options, problem) ?? []);
    if (words.length > 0) throw new PorticoError("usage", words.join("\n"), { cause: error });
    throw error;
  }
}

function flagProblem(options: ServeOptions, { path, message, hint }: ConfigProblem): string | undefined {
  const found = FLAGS.find((each) => options[each.option] !== undefined && each.path.test(path));
  if (found === undefined) return undefined;
  const given = options[found.option];
  const value = Array.isArray(given) ? (given as unknown[])[Number(found.path.exec(path)?.[1])] : given;
  return `${found.flag} ${String(value)}: ${message}${hint === undefined ? "" : ` (${hint})`}`;
}

function checkFolder(folder: string): void {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found === undefined) throw new PorticoError("usage", `--static ${folder}: there is no such folder`);
  if (!found.isDirectory()) throw new PorticoError("usage", `--static ${folder}: it is not a folder`);
}

function withApplication(file: string, written: Record<string, unknown>, options: ServeOptions, app: object): object {
  const upstreams = isObject(written["upstreams"]) ? written["upstreams"] : {};
  if ("app" in upstreams) {
    throw new PorticoError(
      "config",
      `${file}: upstreams.app: this name is the application itself here; give yours another name, or run portico-proxy and portico-server apart`,
    );
  }
  return { listen: [DEFAULT_LISTEN], ...written, ...fromFlags(options, written), upstreams: { ...upstreams, app } };
}

function fromFlags(options: ServeOptions, written: Record<string, unknown>): Partial<ProxyConfig> {
  const { listen, threads, accessLog, bodySize } = options;
  return {
    ...(listen === undefined ? {} : { listen: [...listen] }),
    ...(threads === undefined ? {} : { threads }),
    ...section(written, "log", { level: QUIET_LEVEL }, accessLog === undefined ? {} : { access: accessLog }),
    ...section(written, "limits", {}, bodySize === undefined ? {} : { bodySize }),
  };
}

/** One section of the configuration: what was written over our defaults, flags over both. A wrong one is left for the proxy to refuse. */
function section(written: Record<string, unknown>, key: string, defaults: object, flags: object): object {
  const value = written[key];
  if (value !== undefined && !isObject(value)) return {};
  return { [key]: { ...defaults, ...value, ...flags } };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
