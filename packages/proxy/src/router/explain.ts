/**
 * What a request would meet: which site and route, by which setting, and why not the others. Compiles the configuration
 * with the router's own parts and asks them.
 */
import { z } from "zod";
import type { Exchange, ExchangeFacts, HeaderList, RequestHead, WholeBody } from "@portico/gateway/exchange";
import type { ResolvedConfig, RouteSettings, SiteSettings } from "../config/schema.ts";
import { route as routeSchema } from "../config/schema/route.ts";
import { compileTrust } from "../config/trust.ts";
import { compileCanonical } from "./canonical.ts";
import { compileConditions } from "./conditions.ts";
import { type HostKind, HostTable, hostName } from "./hosts.ts";
import { lookupPath } from "./path.ts";
import { compilePath } from "./path-pattern.ts";
import { PathTable } from "./paths.ts";
import { compileMatch, handlerNameOf } from "./router.ts";
import type { Route } from "./route.ts";

export interface ExplainedRequest {
  readonly method: string;
  readonly scheme: "http" | "https";
  readonly authority: string;
  readonly target: string;
  readonly headers: HeaderList;
  /** Address of the client. */
  readonly client: string;
}

/** One route of the site, and what speaks against it; undefined: nothing, it answers. */
interface Verdict {
  readonly index: number;
  readonly path: string;
  readonly name: string;
  readonly against: string | undefined;
  /** Answers only where the route before it has no file. */
  readonly fallback: boolean;
}

export interface Explanation {
  /** Host name without port, lower case. */
  readonly host: string;
  readonly site: { readonly index: number; readonly pattern: string; readonly kind: HostKind } | undefined;
  /** In normal form; undefined where there is no one reading. */
  readonly path: string | undefined;
  /** What answers in place of a route. */
  readonly instead: string | undefined;
  readonly verdicts: readonly Verdict[];
  /** Place of the route that answers. */
  readonly route: number | undefined;
  /** Its settings, every default included. */
  readonly settings: unknown;
}

/** Just enough of an exchange to be asked about; keeps the answer. */
class Question implements Exchange {
  readonly head: RequestHead;
  readonly facts: ExchangeFacts;
  observer = undefined;
  started = false;
  readonly ended = false;
  status = 0;
  headers: HeaderList = [];

  constructor({ client, ...head }: ExplainedRequest) {
    this.head = { ...head, version: "1.1", bodyLength: 0, upgrade: undefined };
    const end = { address: client, port: 0 };
    this.facts = {
      id: "explain",
      traceparent: undefined,
      tracestate: undefined,
      peer: end,
      local: end,
      client: { ...end, vouchedBy: "socket" },
      tls: undefined,
      receivedAt: Date.now(),
      queuedMs: 0,
      deadline: undefined,
    };
  }
  resume(): void {}
  pause(): void {}
  inform(): void {}
  respond(status: number, headers: HeaderList, _body: WholeBody): void {
    this.started = true;
    this.status = status;
    this.headers = headers;
  }
  start(): void {}
  write(): boolean {
    return true;
  }
  end(): void {}
  upgrade(): void {}
  abort(): void {}
}

const NO_HANDLER = (): void => {};

/** What answers in place of the routes. */
function instead(site: SiteSettings, question: Question): string | undefined {
  if (site.canonical !== undefined && compileCanonical(site.canonical)(question)) {
    const to = question.headers[1];
    return to === undefined ? `${question.status}` : `${question.status} to ${to} (canonical: ${site.canonical})`;
  }
  if (site.maintenance?.enabled !== true) return undefined;
  const passes = compileTrust(site.maintenance.allow ?? []);
  return passes(question.facts.client.address) ? undefined : "503 (maintenance)";
}

function against(route: Route, settings: RouteSettings, question: Question, path: string): string | undefined {
  if (settings.internal === true) return "it is internal: only X-Accel-Redirect leads to it";
  const { expression } = compilePath(settings.path);
  if (expression !== undefined && !expression.test(path)) return "another path";
  if (route.methods !== undefined && !route.methods.has(question.head.method))
    return `another method: it takes ${[...route.methods].join(", ")}`;
  const failing = compileConditions(settings.match).find((one) => !one.holds(question));
  return failing === undefined ? undefined : `it asks for ${failing.asks}`;
}

/** Why a route that would take the request is not asked. */
function behind(taken: RouteSettings, other: RouteSettings): string {
  const [first, second] = [compilePath(taken.path).filed, compilePath(other.path).filed];
  if (first === second) return "a route before it takes the request";
  return first.endsWith("*") ? "a longer prefix goes before it" : "an exact path goes before it";
}

function judge(
  site: SiteSettings,
  question: Question,
  path: string,
): { verdicts: Verdict[]; taken: number | undefined } {
  const routes = site.routes.map((settings, index) =>
    compileMatch(settings, index, compilePath(settings.path), NO_HANDLER),
  );
  const match = new PathTable(routes).find(path);
  let taken: number | undefined;
  let open = true;
  const verdicts = new Map<number, Verdict>();
  const say = (index: number, reason: string | undefined, fallback = false): void => {
    const settings = site.routes[index]!;
    verdicts.set(index, { index, path: settings.path, name: routes[index]!.name, against: reason, fallback });
  };
  for (const route of match) {
    const settings = site.routes[route.index]!;
    const reason = against(route, settings, question, path);
    if (reason !== undefined) say(route.index, reason);
    else if (taken === undefined) say((taken = route.index), undefined);
    else say(route.index, open ? undefined : behind(site.routes[taken]!, settings), open);
    if (reason === undefined && settings.static?.fallthrough !== true) open = false;
  }
  for (const route of routes) if (!verdicts.has(route.index)) say(route.index, "another path");
  return { verdicts: [...verdicts.values()].sort((a, b) => a.index - b.index), taken };
}

/** CONNECT names no path: the first route that passes it on has it. */
function judgeTunnel(site: SiteSettings, question: Question): { verdicts: Verdict[]; taken: number | undefined } {
  let taken: number | undefined;
  const verdicts = site.routes.map((settings, index): Verdict => {
    const route = compileMatch(settings, index, compilePath(settings.path), NO_HANDLER);
    const reason = settings.proxy?.connect === true ? against(route, settings, question, "/") : "it has no `connect`";
    const late = reason === undefined && taken !== undefined ? "a route before it takes the request" : reason;
    if (late === undefined) taken = index;
    return { index, path: settings.path, name: route.name, against: late, fallback: false };
  });
  return { verdicts, taken };
}

function settingsOf(config: ResolvedConfig, route: RouteSettings): unknown {
  const limits = { bodySize: config.limits.bodySize, ...route.limits };
  return z.encode(routeSchema, { ...route, limits });
}

export function explain(config: ResolvedConfig, request: ExplainedRequest): Explanation {
  const table = new HostTable<number>();
  for (const [index, { hosts }] of config.sites.entries()) for (const host of hosts) table.add(host, index);
  const question = new Question(request);
  const host = hostName(request.authority);
  const found = table.search(host);
  const path = lookupPath(request.target);
  const nothing = { host, path, instead: undefined, verdicts: [], route: undefined, settings: undefined };
  if (found === undefined) return { ...nothing, site: undefined, instead: "421: no site has this host" };
  const place = { index: found.site, pattern: found.pattern, kind: found.kind };
  const site = config.sites[found.site]!;
  const gate = instead(site, question);
  if (gate !== undefined) return { ...nothing, site: place, instead: gate };
  if (request.method === "CONNECT") {
    const { verdicts, taken } = judgeTunnel(site, question);
    const settings = taken === undefined ? undefined : settingsOf(config, site.routes[taken]!);
    const answer = taken === undefined ? "501: no route passes CONNECT on" : undefined;
    return { ...nothing, site: place, verdicts, route: taken, instead: answer, settings };
  }
  if (path === undefined || !path.startsWith("/"))
    return { ...nothing, site: place, instead: "400: the path has no one reading" };
  const { verdicts, taken } = judge(site, question, path);
  return {
    ...nothing,
    site: place,
    verdicts,
    route: taken,
    instead: taken === undefined ? refusal(verdicts) : undefined,
    settings: taken === undefined ? undefined : settingsOf(config, site.routes[taken]!),
  };
}

function refusal(verdicts: readonly Verdict[]): string {
  const methods = verdicts.some(({ against: reason }) => reason?.startsWith("another method") === true);
  return methods ? "405: no route takes this method" : "404: no route takes it";
}

const KIND_WORDS: Readonly<Record<HostKind, string>> = {
  exact: "by its name",
  leading: "by the wildcard",
  trailing: "by the wildcard",
  expression: "by the regular expression",
  default: "as every name that no other site has, by",
};

// A person looks for the near misses; the other nine thousand are a number.
const SHOWN_OTHERS = 20;

/** The explanation for a person. */
export function describeExplanation(request: ExplainedRequest, found: Explanation, config: ResolvedConfig): string {
  const lines = [`${request.method} ${request.scheme}://${request.authority}${request.target}`];
  const { site } = found;
  if (site !== undefined)
    lines.push(
      `  host   ${found.host} is of sites[${site.index}], ${KIND_WORDS[site.kind]} ${JSON.stringify(site.pattern)}`,
    );
  if (found.path !== undefined && found.path !== request.target) lines.push(`  path   ${found.path}`);
  if (found.instead !== undefined) lines.push(`  answer ${found.instead}`);
  const where = ({ index, path }: Verdict): string => `sites[${site!.index}].routes[${index}] ${JSON.stringify(path)}`;
  for (const verdict of found.verdicts.filter(({ against: reason }) => reason === undefined)) {
    const handler = handlerNameOf(config.sites[site!.index]!.routes[verdict.index]!);
    lines.push(
      `  ${verdict.fallback ? "then  " : "route "} ${where(verdict)}: ${handler}${verdict.fallback ? ", where there is no such file" : ""}`,
    );
  }
  if (found.settings !== undefined)
    lines.push(
      ...JSON.stringify(found.settings, null, 2)
        .split("\n")
        .map((line) => `    ${line}`),
    );
  const others = found.verdicts.filter(({ against: reason }) => reason !== undefined);
  const near = [
    ...others.filter((one) => one.against !== "another path"),
    ...others.filter((one) => one.against === "another path"),
  ];
  for (const verdict of near.slice(0, SHOWN_OTHERS)) lines.push(`  not    ${where(verdict)}: ${verdict.against}`);
  if (near.length > SHOWN_OTHERS) lines.push(`  not    ${near.length - SHOWN_OTHERS} more`);
  return `${lines.join("\n")}\n`;
}
