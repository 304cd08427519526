import type { RecordHeaders, Reply } from "../application.ts";
import type {
  CacheControl,
  Capability,
  Connection,
  Context,
  ErrorStream,
  Limits,
  Logger,
  Mount,
  RawHttp,
  Specification,
  Times,
  Trace,
  UpgradeOptions,
  UpgradeReply,
  UpgradeRequest,
  WorkerFacts,
} from "../context.ts";
import { PorticoGatewayError } from "../errors.ts";
import type { Duplex } from "node:stream";
import { type Call, tooLate } from "./call.ts";
import { checkFields } from "./fields.ts";
import { FileTicket } from "./file.ts";
import { CacheOrders, locationOf, redirectFields } from "./front.ts";
import { pairsOf } from "./headers.ts";

/** The context of one call. Holds the call and nothing else; every field is computed when asked for. */
export class HostContext implements Context {
  readonly #call: Call;
  #log: Logger | undefined;

  constructor(call: Call) {
    this.#call = call;
  }

  get spec(): Specification {
    return this.#call.core.specFor(this.#call.exchange);
  }

  get id(): string {
    return this.#call.exchange.facts.id;
  }

  get trace(): Trace {
    const { traceparent, tracestate } = this.#call.exchange.facts;
    return { traceparent, tracestate };
  }

  get state(): unknown {
    return this.#call.core.state;
  }

  get http(): RawHttp {
    const { version, scheme, authority, method, target, headers } = this.#call.exchange.head;
    return { version, scheme, authority, method, target, headers };
  }

  get mount(): Mount {
    const root = this.#call.core.mount;
    const target = this.#call.exchange.head.target;
    const query = target.indexOf("?");
    const path = query === -1 ? target : target.slice(0, query);
    const inside = root !== "" && path.startsWith(root) && (path.length === root.length || path[root.length] === "/");
    return inside ? { root, path: path.slice(root.length) } : { root: "", path };
  }

  get connection(): Connection {
    const { peer, local, client, tls } = this.#call.exchange.facts;
    return { peer, local, client, tls };
  }

  get time(): Times {
    const { receivedAt, queuedMs, deadline } = this.#call.exchange.facts;
    return { received: receivedAt, queued: queuedMs, deadline };
  }

  get worker(): WorkerFacts {
    return this.#call.core.worker;
  }

  get signal(): AbortSignal {
    return this.#call.signal;
  }

  get log(): Logger {
    return (this.#log ??= this.#call.core.log.child({ requestId: this.id }));
  }

  get errors(): ErrorStream {
    const { log } = this;
    return {
      write: (text) => {
        for (const line of text.split("\n")) if (line !== "") log.error(line);
      },
    };
  }

  get limits(): Limits {
    return new HostLimits(this.#call);
  }

  earlyHints(headers: RecordHeaders): void {
    this.#need("earlyHints");
    this.#call.earlyHints(headers);
  }

  trailers(fields: RecordHeaders | (() => RecordHeaders | Promise<RecordHeaders>)): void {
    this.#need("trailers");
    if (this.#call.replied) throw tooLate("trailers");
    if (typeof fields === "function") {
      this.#call.trailers = async () => checkFields(await fields()).list;
    } else {
      const { list } = checkFields(fields);
      this.#call.trailers = () => Promise.resolve(list);
    }
  }

  get requestTrailers(): Promise<Headers> {
    this.#need("requestTrailers");
    return this.#call.requestTrailers.then((list) => new Headers(pairsOf(list)));
  }

  buffering(allowed: boolean): void {
    this.#need("buffering");
    if (this.#call.replied) throw tooLate("buffering");
    this.#call.buffering = allowed;
  }

  upgrade(open: (tunnel: Duplex, request: UpgradeRequest) => void, options: UpgradeOptions = {}): UpgradeReply {
    const { upgrader, log } = this.#call.core;
    if (upgrader === undefined) this.#absent("upgrade");
    if (this.#call.exchange.head.upgrade === undefined) {
      throw new PorticoGatewayError("UPGRADE_NOT_REQUESTED", "The request does not ask for an upgrade", {
        rule: "T6.2.1",
      });
    }
    if (this.#call.replied) throw tooLate("upgrade");
    return upgrader(this.#call.exchange, open, options, log);
  }

  waitUntil(work: PromiseLike<unknown>): void {
    this.#need("waitUntil");
    const { core } = this.#call;
    const { id } = this;
    core.begin();
    Promise.resolve(work)
      .catch((error: unknown) => core.log.error({ err: error, requestId: id }, "Work given to ctx.waitUntil failed"))
      .finally(() => core.end());
  }

  onFinished(callback: (reason: PorticoGatewayError | undefined) => void): void {
    this.#call.onFinished(callback);
  }

  /** Part of the context of Workers modules. An error is answered by the host either way. */
  passThroughOnException(): void {}

  file(path: string, options: { readonly headers?: RecordHeaders } = {}): Reply {
    this.#need("file");
    const { list } = checkFields(options.headers);
    const location = locationOf(path, this.#call.core.front.files);
    if (location !== undefined) return { headers: [...redirectFields(location), ...list] };
    return new FileTicket(path, list) as unknown as Reply;
  }

  internalRedirect(target: string, options: { readonly headers?: RecordHeaders } = {}): Reply {
    this.#need("internalRedirect");
    return { headers: [...redirectFields(target), ...checkFields(options.headers).list] };
  }

  get cache(): CacheControl {
    const orders = (): CacheOrders => {
      this.#need("cache");
      if (this.#call.replied) throw tooLate("cache");
      return (this.#call.cache ??= new CacheOrders());
    };
    return {
      tags: (...tags) => orders().tags(tags),
      ttl: (seconds) => orders().ttl(seconds),
      staleWhileRevalidate: (seconds) => orders().staleWhileRevalidate(seconds),
      purge: (what, mode = "soft") => {
        const given = orders();
        for (const kind of ["url", "prefix", "tag"] as const) {
          const value = what[kind];
          if (value !== undefined) given.purge(kind, value, mode);
        }
        const { promise, resolve, reject } = Promise.withResolvers<void>();
        promise.catch(() => {}); // not awaiting it is no error
        this.onFinished((reason) => (reason === undefined ? resolve() : reject(reason)));
        return promise;
      },
    };
  }

  compress(allowed: boolean): void {
    this.#need("compress");
    if (this.#call.replied) throw tooLate("compress");
    this.#call.noTransform = !allowed;
  }

  #need(capability: Capability): void {
    if (!this.spec.capabilities[capability]) this.#absent(capability);
  }

  #absent(capability: Capability): never {
    throw new PorticoGatewayError(
      "CAPABILITY_ABSENT",
      `This host has no capability "${capability}": see ctx.spec.capabilities`,
      { rule: "T3.2.2" },
    );
  }
}

class HostLimits implements Limits {
  readonly #call: Call;

  constructor(call: Call) {
    this.#call = call;
  }

  get bodySize(): number {
    return this.#call.bodyLimit;
  }

  get time(): number {
    const { deadline } = this.#call.exchange.facts;
    const left = deadline === undefined ? Infinity : Math.max(0, deadline - Date.now());
    return Math.min(this.#call.timeLeft, left);
  }

  set(limits: { readonly bodySize?: number; readonly time?: number }): void {
    const raises = this.#call.core.spec.capabilities.raiseLimits;
    const { bodySize, time } = limits;
    if (bodySize !== undefined) checkLimit("bodySize", bodySize, raises ? Infinity : this.bodySize);
    if (time !== undefined) checkLimit("time", time, raises ? Infinity : this.time);
    if (this.#call.replied) throw tooLate("limits.set");
    if (bodySize !== undefined) this.#call.limitBody(bodySize);
    if (time !== undefined) this.#call.limitTime(time);
  }
}

function checkLimit(name: string, value: number, most: number): void {
  if (typeof value === "number" && value >= 0 && value <= most) return;
  throw new PorticoGatewayError(
    "BAD_LIMIT",
    `limits.${name} cannot be set to ${value}: this host allows 0 to ${most}`,
    { rule: "T4.5.2" },
  );
}
