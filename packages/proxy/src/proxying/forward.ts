/**
 * One exchange on its way to a server and back.
 *
 * ```
 * receive ─▶ queue ─▶ wait (for the head) ─▶ respond ─▶ done
 *    body      all        ▲      │              └─▶ tunnel ─▶ done
 *    read      busy       └──────┘ retry
 * ```
 *
 * One object is the observer of the stream, the request that is sent, the place in the queue, the entry in the wheel
 * and the record for the log, so that the plain request (no body, whole small response) costs this object, its
 * client's side and its field list. HOT: no promise, no closure, no stream, no timer on that path.
 */
import type { AbortReason, Exchange, HeaderList } from "@portico/gateway/exchange";
import type { UpstreamFacts } from "../deps.ts";
import type { Member } from "../upstream/member.ts";
import type { UpstreamObserver, UpstreamReset, UpstreamStream } from "../upstream/transport.ts";
import type { NoServer, QueuedRequest } from "../upstream/upstream.ts";
import { ClientSide, type ClientEvents } from "./client-side.ts";
import { ForwardError, resetError } from "./error.ts";
import {
  isDerivable,
  isLastHop,
  limitsForwards,
  namedByConnection,
  requestFields,
  responseFields,
  trailerFields,
  withoutLength,
} from "./fields.ts";
import { RedirectedExchange, redirected } from "../router/redirected.ts";
import { ForwardedRequest } from "./forwarded-request.ts";
import type { ProxyRoute } from "./handler.ts";
import { RequestBody, type BodyEvents } from "./request-body.ts";
import { ResponseBuffer, type ResponseFlow } from "./response-buffer.ts";
import { isRetryable } from "./retry.ts";
import { hasLowerCase, switchesTo } from "./semantics.ts";

/** Where the exchange is. */
type State = "receive" | "queue" | "wait" | "respond" | "tunnel" | "done";

/** No byte either way for so long, and a tunnel is taken for dead. Applications ping far more often. */
const TUNNEL_IDLE_MS = 3_600_000;
/** The same once one side has ended its half: what is on its way still arrives. */
const TUNNEL_LINGER_MS = 30_000;

export class Forward
  extends ForwardedRequest
  implements ClientEvents, UpstreamObserver, QueuedRequest, UpstreamFacts, BodyEvents, ResponseFlow
{
  readonly #route: ProxyRoute;
  #state: State = "receive";
  #member: Member | null = null;
  #stream: UpstreamStream | null = null;

  // --- the request's body
  #body: RequestBody | null = null;
  /** The body goes on as it comes: no part of it was passed on yet, a part was, all was. */
  #streamed: "no" | "waiting" | "flowing" | "ended" = "no";
  /** A part of a streamed body has left: it cannot be sent again. */
  #spent = false;

  // --- the record
  attempts = 0;
  headMs: number | undefined;
  status: number | undefined;
  failure: string | undefined;
  readonly #startedAt: number;
  #waitingSince = 0;
  #sentAt = 0;

  // --- the response
  #buffer: ResponseBuffer | null = null;
  #streaming = false;
  /** What Connection named in the head: trailers of those names stop here too. */
  #named: string | undefined;
  /** Why a failed attempt failed, while the next is tried. */
  #lastError: ForwardError | undefined;
  /** Tunnel: each half's end. */
  #clientEnded = false;
  #serverEnded = false;

  constructor(exchange: Exchange, route: ProxyRoute) {
    super(exchange);
    this.#route = route;
    this.#startedAt = route.wheel.now();
  }

  /** Begins; called once, from the handler. */
  begin(): void {
    const { exchange } = this;
    const route = this.#route;
    const { head } = exchange;
    exchange.observer = new ClientSide(this);
    if (head.method !== "GET" && !this.#passesOn(head.method)) return;
    if (head.bodyLength > route.bodyLimit) {
      this.#fail(tooLarge(head.bodyLength, route.bodyLimit));
      return;
    }
    if (head.bodyLength === 0) this.#dispatch();
    else if (route.settings.request.mode === "full") {
      this.#body = new RequestBody(route.settings.request.memory, route.deps.tempDirectory, this);
      exchange.resume();
    } else {
      this.#streamed = "waiting";
      this.#dispatch();
    }
  }

  /** Methods that may end here: CONNECT, which wants another kind of proxy, what servers read differently, and those that Max-Forwards stops. */
  #passesOn(method: string): boolean {
    const { exchange } = this;
    if (method === "CONNECT") {
      if (this.#route.settings.connect === true) return true;
      this.#fail(new ForwardError("unsupported", "receive", "CONNECT is not passed on: `connect` is not set"));
      return false;
    }
    if (hasLowerCase(method)) {
      this.#fail(
        new ForwardError("unsupported", "receive", "a method in lower case, which some servers read as another"),
      );
      return false;
    }
    if (!limitsForwards(method) || !isLastHop(exchange.head.headers)) return true;
    // RFC 9110 §7.6.2: answered as the final recipient would, and we have neither options nor TRACE.
    if (method === "OPTIONS") exchange.respond(204, [], null);
    else this.#fail(new ForwardError("unsupported", "receive", "Max-Forwards is 0"));
    return false;
  }

  // --- the record, for the log -----------------------------------------------------------------------------------

  get upstream(): string {
    return this.#route.upstream.name;
  }
  get server(): string | undefined {
    return this.#member?.address;
  }

  // --- the client's side -----------------------------------------------------------------------------------------

  onClientData(chunk: Uint8Array): void {
    const body = this.#body;
    if (body !== null) {
      if (this.#state !== "receive") return;
      if (body.length + chunk.length > this.#route.bodyLimit) {
        this.exchange.pause();
        this.#fail(tooLarge(body.length + chunk.length, this.#route.bodyLimit));
        return;
      }
      body.add(chunk);
      return;
    }
    const stream = this.#stream;
    if (stream === null) return;
    this.#spent = true;
    this.#passed += chunk.length;
    if (this.#state !== "tunnel" && this.#passed > this.#route.bodyLimit) {
      this.#fail(tooLarge(this.#passed, this.#route.bodyLimit));
      return;
    }
    this.#touch();
    if (!stream.write(chunk)) this.exchange.pause();
  }
  #passed = 0;

  onClientEnd(trailers: HeaderList): void {
    const body = this.#body;
    const kept =
      trailers.length === 0 ? trailers : trailerFields(trailers, namedByConnection(this.exchange.head.headers));
    if (body !== null) {
      if (this.#state === "receive") body.finish(kept);
      return;
    }
    if (this.#streamed === "flowing") this.#streamed = "ended";
    this.#stream?.end(kept);
    if (this.#state === "tunnel") {
      this.#clientEnded = true;
      this.#endTunnel();
    }
    this.#touch();
  }

  onClientDrain(): void {
    this.#touch();
    if (this.#buffer !== null) this.#buffer.drained();
  }

  /** The response went out whole. */
  onClientFinish(): void {
    this.#end();
  }

  onClientAbort(reason: AbortReason): void {
    if (this.#state === "done") return;
    this.failure ??= reason === "client-disconnected" ? `client-left: ${this.#state}` : `${reason}: ${this.#state}`;
    this.#route.deps.noteUpstream(this.exchange, this);
    this.#end();
  }

  // --- buffering of the request ----------------------------------------------------------------------------------

  onBodyFlow(open: boolean): void {
    if (open) this.exchange.resume();
    else this.exchange.pause();
  }

  onBodyStored(): void {
    if (this.#state !== "receive") return;
    this.bodyLength = this.#body?.length ?? 0;
    this.#dispatch();
  }

  onBodyFailed(error: Error): void {
    this.#fail(new ForwardError("spill-failed", "receive", error.message, { cause: error }));
  }

  // --- to a server -----------------------------------------------------------------------------------------------

  /** Sends the request to a server, or lets it wait for one. */
  #dispatch(): void {
    const { upstream } = this.#route;
    const member = upstream.pick(this);
    if (member !== null) {
      this.#open(member);
      return;
    }
    const room = upstream.wait(this);
    if (room !== true) {
      this.#fail(
        room === "full"
          ? new ForwardError("queue-full", "queue", `${upstream.queued} requests wait already`)
          : (this.#lastError ?? new ForwardError("no-server", "queue", "no server is connected or known")),
      );
      return;
    }
    this.#state = "queue";
    const { wheel } = this.#route;
    this.#waitingSince = wheel.now();
    wheel.arm(this, this.#waitingSince + upstream.settings.queue.timeout);
  }

  onTurn(member: Member): void {
    if (this.#state !== "queue") return;
    this.queuedMs += this.#route.wheel.now() - this.#waitingSince;
    this.#open(member);
  }

  onNoServer(code: NoServer, reason: string): void {
    if (this.#state !== "queue") return;
    this.#fail(new ForwardError(code, code === "no-server" ? "queue" : "connect", reason));
  }

  #open(member: Member): void {
    const route = this.#route;
    const { wheel } = route;
    const { transport } = member;
    this.#member = member;
    this.attempts++;
    const link = transport.kind === "link";
    this.derived = link && route.edits.derivable && isDerivable(this.exchange, route.host);
    try {
      this.headers = requestFields(
        this.exchange,
        this.bodyLength,
        // Of CONNECT, Host says what the target says (RFC 9112 §3.2.3).
        this.method === "CONNECT" ? "pass" : route.host,
        route.fallbackHost,
        link,
        route.viaName,
        this.derived,
      );
      const { request } = route.edits;
      if (request !== undefined) this.headers = request(this.headers, this.exchange);
    } catch (error) {
      this.#fail(error as ForwardError);
      // It was its turn, and it did not take it.
      route.upstream.released(member);
      return;
    }
    // A request that waited for nothing leaves at the moment it came.
    const now = (this.#sentAt = this.#state === "receive" && this.#body === null ? this.#startedAt : wheel.now());
    this.#state = "wait";
    wheel.arm(this, now + route.responseTimeout);
    const body = this.#body;
    try {
      if (body !== null) {
        const whole = body.length <= transport.inlineLimit ? body.whole() : undefined;
        if (whole !== undefined && body.trailers.length === 0) {
          this.#stream = transport.open(this, whole, true, this);
        } else {
          this.#stream = transport.open(this, null, false, this);
          body.send(this.#stream);
        }
      } else if (this.#streamed === "no") {
        this.#stream = transport.open(this, null, true, this);
      } else {
        this.#stream = transport.open(this, null, false, this);
        if (this.#streamed === "ended") this.#stream.end();
        else {
          this.#streamed = "flowing";
          this.exchange.resume();
        }
      }
    } catch (error) {
      if (this.#stream === null) route.upstream.released(member);
      this.#fail(
        new ForwardError("unsupported", "request", error instanceof Error ? error.message : String(error), {
          cause: error,
        }),
      );
    }
  }

  // --- from the server -------------------------------------------------------------------------------------------

  onInform(status: number, headers: HeaderList): void {
    // 100 is answered by our own side, 101 is no interim response.
    if (this.#state !== "wait" || status === 100) return;
    this.#try(() => this.exchange.inform(status, responseFields(headers).headers));
  }

  onResponse(status: number, headers: HeaderList, body: Uint8Array | null, complete: boolean): void {
    if (this.#state !== "wait") return;
    const route = this.#route;
    const member = this.#member!;
    this.headMs = route.wheel.now() - this.#sentAt;
    route.upstream.succeeded(member, this.headMs);
    this.status = status;
    const notes = responseFields(headers);
    const { sticky } = route.upstream;
    const passed =
      route.edits.response === undefined ? notes.headers : route.edits.response(notes.headers, this.exchange);
    const fields = sticky === null ? passed : sticky.mark(passed, member, this.exchange);
    if (notes.contradictory || status < 101 || status > 599 || (status > 101 && status < 200)) {
      this.#badResponse("the framing or the status of the response is invalid");
      return;
    }
    if (status === 101 || (status < 300 && this.method === "CONNECT")) {
      this.#openTunnel(status, headers, fields);
      return;
    }
    if (notes.redirect !== undefined && route.redirect !== undefined) {
      if (complete) {
        this.#stream = null;
        route.upstream.released(member);
      }
      this.#redirect(notes.redirect, fields, route.redirect);
      return;
    }
    this.#state = "respond";
    const { exchange } = this;
    try {
      if (complete) {
        this.#stream = null;
        this.#body?.destroy();
        route.deps.noteUpstream(exchange, this);
        exchange.respond(status, fields, body);
        // The server is free again, whatever the client still has to take.
        route.upstream.released(member);
        route.wheel.disarm(this);
        return;
      }
      this.#named = namedByConnection(headers);
      this.#streaming = notes.streaming || route.settings.response.mode === "stream";
      route.deps.noteUpstream(exchange, this);
      exchange.start(status, fields);
    } catch (error) {
      this.#badResponse(error instanceof Error ? error.message : String(error));
      return;
    }
    this.#touch();
    if (body !== null && body.length > 0) this.onData(body);
  }

  onData(chunk: Uint8Array): void {
    if (this.#state !== "respond" && this.#state !== "tunnel") return;
    this.#touch();
    const buffer = this.#buffer;
    if (buffer !== null && !buffer.empty) {
      buffer.add(chunk);
      return;
    }
    const taken = this.deliver(chunk);
    this.#stream?.consume(chunk.length);
    if (taken) return;
    if (buffer === null) this.#buffer = this.#makeBuffer();
    else buffer.block();
  }

  onEnd(trailers: HeaderList): void {
    if (this.#state === "tunnel") {
      this.#serverEnded = true;
      this.#touch();
      if (this.#buffer !== null && !this.#buffer.empty) this.#buffer.finish(trailers);
      else this.delivered(trailers);
      return;
    }
    if (this.#state !== "respond") return;
    this.#stream = null;
    this.#body?.destroy();
    this.#route.upstream.released(this.#member!);
    this.#route.wheel.disarm(this);
    if (this.#buffer !== null && !this.#buffer.empty) this.#buffer.finish(trailers);
    else this.delivered(trailers);
  }

  /** The server takes more of the request. */
  onDrain(): void {
    this.#touch();
    if (this.#body !== null) this.#body.drained();
    else this.exchange.resume();
  }

  onReset(reset: UpstreamReset): void {
    if (this.#state === "done") return;
    const { upstream } = this.#route;
    const member = this.#member!;
    if (this.#stream !== null) upstream.released(member);
    this.#stream = null;
    this.#body?.stop();
    // Connection failures are counted by the transport's own events.
    if (!reset.refused) upstream.failed(member);
    if (this.#state === "tunnel") {
      this.#serverEnded = true;
      this.failure ??= `${reset.code}: tunnel`;
      this.#abort("reset");
      return;
    }
    const error = resetError(reset);
    if (this.#state === "wait" && this.#mayRetry(error)) {
      this.#lastError = error;
      this.#retry();
    } else this.#fail(error);
  }

  /** The server seems to hang: a request that may be sent again goes to another. */
  onSuspect(): void {
    if (this.#state !== "wait") return;
    const error = new ForwardError("head-timeout", "request", "the server seems to hang");
    if (!this.#mayRetry(error)) return;
    this.#dropStream();
    this.#lastError = error;
    this.#retry();
  }

  // --- to the client ---------------------------------------------------------------------------------------------

  deliver(chunk: Uint8Array): boolean {
    try {
      return this.exchange.write(chunk);
    } catch (error) {
      this.#badResponse(error instanceof Error ? error.message : String(error));
      return true;
    }
  }

  consumed(bytes: number): void {
    this.#stream?.consume(bytes);
  }

  delivered(trailers: HeaderList): void {
    if (this.#state !== "respond" && this.#state !== "tunnel") return;
    try {
      this.exchange.end(trailers.length === 0 ? undefined : trailerFields(trailers, this.#named));
    } catch (error) {
      this.#badResponse(error instanceof Error ? error.message : String(error));
      return;
    }
    if (this.#state === "tunnel") this.#endTunnel();
  }

  slowed(error: Error): void {
    const { id } = this.exchange.facts;
    this.#route.deps.log.warn(
      { id, reason: error.message },
      "response cannot be stored, the server waits for the client",
    );
  }

  failed(error: Error): void {
    this.#fail(new ForwardError("spill-failed", "send", error.message, { cause: error }));
  }

  // --- time ------------------------------------------------------------------------------------------------------

  onDeadline(): void {
    switch (this.#state) {
      case "queue":
        this.#route.upstream.leave(this);
        this.queuedMs += this.#route.wheel.now() - this.#waitingSince;
        this.#fail(
          new ForwardError("queue-timeout", "queue", `no server became free in ${Math.round(this.queuedMs)} ms`),
        );
        return;
      case "wait": {
        const error = new ForwardError("head-timeout", "request", "no response in time");
        this.#dropStream();
        // Last: it may tell everyone who waits for this server to leave.
        if (this.#member !== null) this.#route.upstream.failed(this.#member);
        if (this.#mayRetry(error)) {
          this.#lastError = error;
          this.#retry();
        } else this.#fail(error);
        return;
      }
      case "respond":
        // The server waits for us, because the client does not take what is here already.
        if (this.#buffer !== null && !this.#buffer.empty) this.#touch();
        else this.#fail(new ForwardError("body-timeout", "response", "the response stopped in the middle"));
        return;
      case "tunnel":
        this.failure ??= "timeout: tunnel";
        this.#abort("timeout");
        return;
      default:
    }
  }

  /** Something moved: the time between two parts starts again. HOT. */
  #touch(): void {
    // Without a stream only the client is waited for, and its own time limits hold.
    if (this.#stream === null) return;
    const { wheel, idleTimeout, responseTimeout } = this.#route;
    const state = this.#state;
    if (state === "respond") wheel.arm(this, wheel.now() + idleTimeout);
    else if (state === "tunnel") {
      const half = this.#clientEnded || this.#serverEnded;
      wheel.arm(this, wheel.now() + (half ? TUNNEL_LINGER_MS : TUNNEL_IDLE_MS));
    } else if (state === "wait") wheel.arm(this, wheel.now() + responseTimeout);
  }

  /** `X-Accel-Redirect`: another route answers, and the rest of this response goes nowhere. */
  #redirect(target: string, fields: HeaderList, redirect: (exchange: RedirectedExchange) => void): void {
    const { exchange } = this;
    const onward = redirected(exchange, target, fields);
    if (onward instanceof RedirectedExchange) {
      this.#route.deps.noteUpstream(exchange, this);
      this.#end();
      redirect(onward);
    } else this.#badResponse(`X-Accel-Redirect ${onward}`);
  }

  // --- tunnels ---------------------------------------------------------------------------------------------------

  /** Why a response cannot begin a tunnel; undefined: it can. */
  #noTunnel(status: number, headers: HeaderList): string | undefined {
    if (this.#stream?.tunnelling !== true) return `${status} without a tunnel`;
    if (status !== 101) return undefined;
    if (this.upgrade === undefined) return "101 without an upgrade";
    // Over the link a flag says that it is the tunnel that was asked for.
    if (this.#member!.transport.kind === "link" || switchesTo(headers, this.upgrade)) return undefined;
    return "101 to a protocol that was not asked for";
  }

  #openTunnel(status: number, headers: HeaderList, passed: HeaderList): void {
    const problem = this.#noTunnel(status, headers);
    if (problem !== undefined) {
      this.#badResponse(problem);
      return;
    }
    // RFC 9110 §9.3.6: a length in an answer to CONNECT means nothing.
    const fields = status === 101 ? passed : withoutLength(passed);
    const { exchange } = this;
    this.#state = "tunnel";
    this.#streaming = true;
    this.#touch();
    this.#route.deps.noteUpstream(exchange, this);
    try {
      exchange.upgrade(status, fields);
    } catch (error) {
      this.#badResponse(error instanceof Error ? error.message : String(error));
      return;
    }
    exchange.resume();
  }

  #endTunnel(): void {
    if (!this.#clientEnded || !this.#serverEnded) return;
    this.#stream = null;
    this.#route.upstream.released(this.#member!);
  }

  // --- failing and ending ----------------------------------------------------------------------------------------

  #mayRetry(error: ForwardError): boolean {
    const { exchange } = this;
    if (exchange.ended || exchange.started || this.#spent) return false;
    const { upstream, wheel } = this.#route;
    const elapsed = wheel.now() - this.#startedAt;
    const { method } = exchange.head;
    const servers = upstream.members.length;
    if (!isRetryable(error, method, this.attempts, elapsed, servers, upstream.settings.retries)) return false;
    // What was refused has cost the application nothing.
    return error.code === "refused" || upstream.budget.spend();
  }

  #retry(): void {
    if (this.#member !== null) (this.avoid ??= []).push(this.#member);
    if (this.#streamed === "flowing") this.exchange.pause();
    this.#dispatch();
  }

  #makeBuffer(): ResponseBuffer {
    const { response } = this.#route.settings;
    return new ResponseBuffer(
      {
        memory: response.memory,
        disk: this.#streaming ? 0 : response.disk,
        folder: this.#route.deps.tempDirectory,
      },
      this,
    );
  }

  #try(action: () => void): void {
    try {
      action();
    } catch (error) {
      this.#badResponse(error instanceof Error ? error.message : String(error));
    }
  }

  #badResponse(message: string): void {
    this.#fail(new ForwardError("bad-response", this.exchange.started ? "response" : "request", message));
  }

  /** Answers with an error where nothing was sent yet, else breaks the connection off. */
  #fail(error: ForwardError): void {
    const { exchange } = this;
    if (this.#state === "done") return;
    const { deps, upstream } = this.#route;
    this.failure = `${error.code}: ${error.phase}`;
    this.#dropStream();
    deps.noteUpstream(exchange, this);
    const line = {
      id: exchange.facts.id,
      method: exchange.head.method,
      target: exchange.head.target,
      upstream: upstream.name,
      server: this.#member?.address,
      code: error.code,
      phase: error.phase,
      side: error.side,
      attempts: this.attempts,
      reason: error.message,
    };
    if (error.side === "downstream") deps.log.info(line, "request refused");
    else deps.log.error(line, "request failed");
    if (exchange.started) this.#abort("reset");
    else {
      this.#end();
      deps.answerError(exchange, error.status, error.reason, error.retryAfter);
    }
  }

  #abort(reason: AbortReason): void {
    const { exchange } = this;
    this.#end();
    if (!exchange.ended) exchange.abort(reason);
  }

  #dropStream(): void {
    const stream = this.#stream;
    if (stream === null) return;
    this.#stream = null;
    this.#body?.stop();
    stream.reset("cancelled");
    this.#route.upstream.released(this.#member!);
  }

  /** Lets go of everything. */
  #end(): void {
    if (this.#state === "done") return;
    if (this.waiting) this.#route.upstream.leave(this);
    this.#state = "done";
    this.#route.wheel.disarm(this);
    this.#dropStream();
    this.#body?.destroy();
    this.#buffer?.destroy();
  }
}

function tooLarge(bytes: number, limit: number): ForwardError {
  return new ForwardError("body-too-large", "receive", `${bytes} bytes, the limit is ${limit}`);
}
