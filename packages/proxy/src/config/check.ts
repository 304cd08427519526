/**
 * What a schema cannot say: settings that refer to each other or contradict each other.
 *
 * Works on the configuration as it was written, right or wrong, so that these findings come together with the
 * schema's: all at once.
 */
import { isIP } from "node:net";
import { nearest } from "./nearest.ts";
import type { Finding, KeyPath } from "./problems.ts";
import { TRUST_WORDS } from "./trust.ts";

/** Environment variable of the secret, the server's too. */
export const LINK_SECRET_VARIABLE = "PORTICO_LINK_SECRET";

/** The handlers of a route; each route has exactly one. */
export const ROUTE_HANDLERS = ["static", "proxy", "respond", "redirect"] as const;

type Raw = Record<string, unknown>;
const record = (value: unknown): Raw =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Raw) : {};
const list = (value: unknown): unknown[] => (Array.isArray(value) ? value : []);
const text = (value: unknown): string | undefined => (typeof value === "string" ? value : undefined);

// RFC 9110 §5.1, §5.5: a field name is a token; a value has no control characters.
const FIELD_NAME = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
const FIELD_VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
// Framing and connection management belong to the transport.
const TRANSPORT_FIELDS = new Set([
  "connection",
  "content-length",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

function checkFields(fields: unknown, path: KeyPath, found: Finding[]): void {
  for (const [name, value] of Object.entries(record(fields))) {
    if (!FIELD_NAME.test(name)) found.push({ path: [...path, name], message: "is not a field name" });
    else if (TRANSPORT_FIELDS.has(name.toLowerCase()))
      found.push({ path: [...path, name], message: "belongs to the connection and cannot be set" });
    else if (typeof value === "string" && !FIELD_VALUE.test(value))
      found.push({ path: [...path, name], message: "has characters that no field may have" });
  }
}

function checkHandler(route: Raw, path: KeyPath, found: Finding[]): void {
  const given = ROUTE_HANDLERS.filter((name) => route[name] !== undefined);
  const choices = ROUTE_HANDLERS.map((name) => `\`${name}\``).join(", ");
  if (given.length === 0) found.push({ path, message: `must have one of ${choices}` });
  if (given.length > 1)
    found.push({ path, message: `must have only one of ${choices}`, hint: `has ${given.join(" and ")}` });
}

function checkUpstreamName(route: Raw, path: KeyPath, known: string[], found: Finding[]): void {
  const name = text(record(route["proxy"])["upstream"]);
  if (name === undefined || known.includes(name)) return;
  const near = nearest(name, known);
  const hint =
    near !== undefined
      ? `did you mean "${near}"?`
      : known.length === 0
        ? "`upstreams` is empty"
        : `there are: ${known.join(", ")}`;
  found.push({ path: [...path, "proxy", "upstream"], message: `there is no upstream "${name}"`, hint });
}

function checkTryFiles(route: Raw, path: KeyPath, found: Finding[]): void {
  const tries = list(record(route["static"])["tryFiles"]);
  tries.forEach((one, index) => {
    const value = text(one);
    if (value === undefined) return;
    const where = [...path, "static", "tryFiles", index];
    if (value.startsWith("=")) {
      if (!/^=[45]\d\d$/.test(value))
        found.push({ path: where, message: "must be a status from 400 to 599 after the equals sign", hint: '"=404"' });
      else if (index !== tries.length - 1) found.push({ path: where, message: "a status can only be the last" });
    } else if (!value.startsWith("/") && !value.startsWith("$path")) {
      found.push({ path: where, message: 'must begin with "/" or "$path"' });
    }
  });
}

/** A route behind an equal one that takes every request is a mistake. */
function checkReachable(routes: Raw[], path: KeyPath, found: Finding[]): void {
  const taken = new Map<string, number>();
  routes.forEach((route, index) => {
    const pattern = text(route["path"]);
    if (pattern === undefined) return;
    const before = taken.get(pattern);
    if (before !== undefined)
      found.push({
        path: [...path, index, "path"],
        message: `can never be reached: routes[${before}] takes every request of this path`,
      });
    else if (route["methods"] === undefined && record(route["static"])["fallthrough"] !== true)
      taken.set(pattern, index);
  });
}

function checkRoute(route: Raw, path: KeyPath, upstreams: string[], found: Finding[]): void {
  checkHandler(route, path, found);
  checkUpstreamName(route, path, upstreams, found);
  checkTryFiles(route, path, found);
  checkFields(record(route["respond"])["headers"], [...path, "respond", "headers"], found);
  checkFields(record(route["static"])["headers"], [...path, "static", "headers"], found);
}

function checkHosts(sites: Raw[], found: Finding[]): void {
  const owner = new Map<string, number>();
  sites.forEach((site, index) => {
    list(site["hosts"]).forEach((host, position) => {
      const name = text(host)?.toLowerCase();
      if (name === undefined) return;
      const before = owner.get(name);
      if (before === undefined) owner.set(name, index);
      else
        found.push({
          path: ["sites", index, "hosts", position],
          message: `"${name}" already belongs to sites[${before}]`,
        });
    });
  });
}

function listenKey(value: unknown): string | undefined {
  if (typeof value === "number") return value === 0 ? undefined : `:${value}`;
  if (typeof value === "string") return value.endsWith(":0") ? undefined : value;
  const { port, host, unix } = record(value);
  if (typeof unix === "string") return `unix:${unix}`;
  return typeof port === "number" && port !== 0 ? `${typeof host === "string" ? host : ""}:${port}` : undefined;
}

function checkListen(listen: unknown[], found: Finding[]): void {
  const seen = new Map<string, number>();
  listen.forEach((one, index) => {
    if (typeof one === "object" && one !== null) {
      const { port, unix, mode } = record(one);
      if ((port === undefined) === (unix === undefined))
        found.push({ path: ["listen", index], message: "must have either `port` or `unix`" });
      if (mode !== undefined && unix === undefined)
        found.push({ path: ["listen", index, "mode"], message: "is for unix sockets only" });
    }
    const key = listenKey(one);
    if (key === undefined) return;
    const before = seen.get(key);
    if (before === undefined) seen.set(key, index);
    else found.push({ path: ["listen", index], message: `is the same address as listen[${before}]` });
  });
}

function isRange(value: string): boolean {
  const [ip, bits, rest] = value.split("/");
  const version = isIP(ip ?? "");
  if (version === 0 || rest !== undefined) return false;
  return bits === undefined || (/^\d{1,3}$/.test(bits) && Number(bits) <= (version === 4 ? 32 : 128));
}

function checkTrusted(trusted: unknown[], found: Finding[]): void {
  trusted.forEach((one, index) => {
    const value = text(one);
    if (value === undefined || TRUST_WORDS.has(value) || isRange(value)) return;
    const near = nearest(value, TRUST_WORDS.keys());
    found.push({
      path: ["trustedProxies", index],
      message: "must be an address, a CIDR range, `loopback`, `private` or `unix`",
      hint: near === undefined ? undefined : `did you mean "${near}"?`,
    });
  });
}

/** A link over the network must be proved with a secret by both ends; on a unix socket the file's mode does it. */
function checkLinkSecret(config: Raw, found: Finding[]): void {
  if (config["linkSecret"] !== undefined || config["linkSecretFile"] !== undefined || process.env[LINK_SECRET_VARIABLE])
    return;
  for (const [name, upstream] of Object.entries(record(config["upstreams"]))) {
    list(record(upstream)["servers"]).forEach((server, index) => {
      const address = text(server) ?? text(record(server)["address"]);
      if (address?.startsWith("link://") !== true) return;
      found.push({
        path: ["upstreams", name, "servers", index],
        message: "a link over TCP needs a shared secret",
        hint: `set \`linkSecretFile\` or ${LINK_SECRET_VARIABLE}`,
      });
    });
  }
}

/** All that is wrong between the settings of a configuration as written. */
export function crossCheck(raw: unknown): Finding[] {
  const found: Finding[] = [];
  const config = record(raw);
  const upstreams = Object.keys(record(config["upstreams"]));
  const sites = list(config["sites"]).map(record);
  checkListen(list(config["listen"]), found);
  checkTrusted(list(config["trustedProxies"]), found);
  checkLinkSecret(config, found);
  checkHosts(sites, found);
  sites.forEach((site, index) => {
    const routes = list(site["routes"]).map(record);
    checkReachable(routes, ["sites", index, "routes"], found);
    routes.forEach((route, position) => checkRoute(route, ["sites", index, "routes", position], upstreams, found));
  });
  return found;
}
