/** One setting of `bind`: an address, and what was said about it behind a question mark. */
import { resolve } from "node:path";
import { parseAddress } from "@portico/supervisor";
import type { ListenAddress } from "@portico/supervisor";
import { suggestion } from "@portico/supervisor/nearest";
import { PorticoServerError } from "./error.ts";
import type { ResolvedConfig } from "./settings.ts";
import { TLS_IS_THE_FRONTS_JOB } from "./tls.ts";

/** What to bind. */
export interface BindRequest {
  /** As written. */
  readonly text: string;
  readonly address: ListenAddress;
  /** Mode of a unix socket. */
  readonly mode: number;
  /** `user`, `user:group` or `:group`; undefined: who starts the server. */
  readonly owner: string | undefined;
  readonly backlog: number;
  /** Connections begin with a PROXY protocol header. */
  readonly proxyProtocol: boolean;
}

const MODE = /^0?[0-7]{3}$/;

/** @throws PorticoServerError `address` */
export function readBind(text: string, config: ResolvedConfig, cwd: string): BindRequest {
  const fail = (why: string, cause?: unknown): PorticoServerError =>
    new PorticoServerError("address", `bind ${text}: ${why}`, { cause });
  if (/^(https|wss?|tls|ssl):/i.test(text)) throw fail(TLS_IS_THE_FRONTS_JOB);
  const mark = text.indexOf("?");
  const options = readOptions(mark === -1 ? "" : text.slice(mark + 1), fail);
  let address: ListenAddress;
  try {
    address = parseAddress(mark === -1 ? text : text.slice(0, mark));
  } catch (error) {
    throw fail(error instanceof Error ? error.message : String(error), error);
  }
  if (address.protocol === "link" && address.kind !== "unix" && config.linkSecret === undefined)
    throw fail(
      "a link over TCP needs a shared secret: set PORTICO_LINK_SECRET, --link-secret-file, or linkSecret in the configuration",
    );
  if (address.kind !== "unix" && (options.mode !== undefined || options.owner !== undefined))
    throw fail("only unix sockets have a mode and an owner");
  if (address.protocol === "link" && options.proxyProtocol === true)
    throw fail("the link says who the client is by itself, without the PROXY protocol");
  return {
    text,
    address: address.kind === "unix" ? { ...address, path: resolve(cwd, address.path) } : address,
    mode: Number.parseInt(options.mode ?? config.socketMode, 8),
    owner: options.owner ?? config.socketOwner,
    backlog: options.backlog ?? config.backlog,
    proxyProtocol: address.protocol === "http" && (options.proxyProtocol ?? config.proxyProtocol),
  };
}

interface BindOptions {
  mode?: string;
  owner?: string;
  backlog?: number;
  proxyProtocol?: boolean;
}

type Take = (options: BindOptions, value: string) => boolean;

/** Option → takes its value; false where it is wrong. */
const OPTIONS: Readonly<Record<string, Take>> = {
  mode: (options, value) => MODE.test(value) && Boolean((options.mode = value)),
  owner: (options, value) => value !== "" && Boolean((options.owner = value)),
  backlog: (options, value) => /^[1-9]\d{0,5}$/.test(value) && Boolean((options.backlog = Number(value))),
  "proxy-protocol": (options, value) => {
    options.proxyProtocol = value !== "off";
    return value === "" || value === "on" || value === "off";
  },
};

function readOptions(query: string, fail: (why: string) => PorticoServerError): BindOptions {
  const options: BindOptions = {};
  for (const [name, value] of new URLSearchParams(query)) {
    const take = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined;
    if (take === undefined) throw fail(`unknown option "${name}"${suggestion(name, Object.keys(OPTIONS))}`);
    if (!take(options, value)) throw fail(`${name}: "${value}" is not a value it takes`);
  }
  return options;
}
