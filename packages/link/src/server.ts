/** The worker end of a link: every REQUEST becomes an `Exchange` for the handler (docs/spec/link.md, sections 6 to 8). */

import type { AbortReason, Endpoint, ExchangeHandler } from "@portico/gateway/exchange";
import { writeEmpty } from "./control.ts";
import { type LinkError, RESET_CODES, resetName } from "./error.ts";
import { LinkExchange } from "./exchange.ts";
import { FLAG, FRAME, type FastBuffer, readU16, writeU32 } from "./frame.ts";
import { LINK_VERSION, type PeerHello } from "./hello.ts";
import { STATUS_BYTES } from "./limits.ts";
import type { LinkSink } from "./outbox.ts";
import { readRequest } from "./received-request.ts";
import { LinkSession, type SessionOptions } from "./session.ts";

/** Who the worker is, as HELLO tells the proxy. */
export interface WorkerFacts {
  readonly id: number;
  readonly generation: number;
  /** Workers of this server as the link begins: the proxy dials until it has a link to each. Later changes travel by {@link ServerSession.reportStatus}. */
  readonly count: number;
  /** Streams this worker takes at once on one link. */
  readonly concurrency: number;
}

export interface ServerOptions extends SessionOptions {
  readonly worker: WorkerFacts;
  /** Ends of the link, as `facts.peer` and `facts.local` of its exchanges. */
  readonly peer?: Endpoint;
  readonly local?: Endpoint;
}

const NOWHERE: Endpoint = { address: "", port: 0 };
const MAX_U32 = 0xffff_ffff;

export class ServerSession extends LinkSession<LinkExchange> {
  declare protected readonly options: ServerOptions;
  readonly handler: ExchangeHandler;
  readonly peerEndpoint: Endpoint;
  readonly localEndpoint: Endpoint;
  /** Exchanges whose last frame is gathered and not handed over yet. */
  #finishing: LinkExchange[] = [];
  #idleDrainSince = 0;

  constructor(sink: LinkSink, handler: ExchangeHandler, options: ServerOptions) {
    super("worker", sink, options);
    this.handler = handler;
    this.peerEndpoint = options.peer ?? NOWHERE;
    this.localEndpoint = options.local ?? NOWHERE;
  }

  /** What the proxy said that it does for responses (docs/spec/link.md, 4.2 and 6.7). */
  get frontAbilities(): readonly string[] {
    return this.peer?.capabilities ?? [];
  }

  protected describe(): PeerHello {
    const { worker } = this.options;
    return {
      version: LINK_VERSION,
      role: "worker",
      worker: worker.id,
      generation: worker.generation,
      workers: worker.count,
      concurrency: worker.concurrency,
      maxFrame: this.limits.maxFrame,
      window: this.limits.window,
      capabilities: ["tunnel", "trailers"],
      nonce: "",
    };
  }

  /** Takes no new streams: those that still come are refused. The proxy closes the link behind the last one. */
  drain(): void {
    if (this.draining) return;
    this.beginDrain();
    if (this.ready) writeEmpty(this.out, FRAME.DRAIN);
  }

  protected override onHandshake(): void {
    if (this.draining) writeEmpty(this.out, FRAME.DRAIN);
  }

  /** Tells the proxy how this worker is; `loopDelayMs` is the mean delay of its event loop, `workers` how many the server has now. */
  reportStatus(inFlight: number, loopDelayMs: number, workers: number): void {
    if (!this.ready) return;
    const at = this.out.reserve(STATUS_BYTES);
    writeU32(this.out.bytes, at, Math.min(inFlight, MAX_U32));
    writeU32(this.out.bytes, at + 4, Math.min(Math.max(0, Math.round(loopDelayMs * 1000)), MAX_U32));
    writeU32(this.out.bytes, at + 8, workers);
    this.out.commit(FRAME.STATUS, FLAG.OPTIONAL, 0, STATUS_BYTES);
    this.out.seal();
  }

  protected onControlFrame(type: number): boolean {
    return this.fail("protocol", type === FRAME.DRAIN ? "a DRAIN from a proxy" : "a STATUS from a proxy");
  }

  protected onStreamFrame(
    type: number,
    flags: number,
    id: number,
    bytes: FastBuffer,
    start: number,
    end: number,
  ): boolean {
    if (type === FRAME.REQUEST) return this.#onRequest(flags, id, bytes, start, end);
    if (id > this.lastStream) return this.fail("protocol", `stream ${id} was never opened`);
    if (type === FRAME.RESPONSE || type === FRAME.INFO) return this.fail("protocol", "a response from a proxy");
    const exchange = this.streams.get(id);
    // Its last frames crossed our RESET, or the end of its response.
    if (exchange === undefined) return true;
    try {
      if (type === FRAME.RESET) {
        this.counters.resetReceived++;
        exchange.cancelled(ABORT_REASONS[resetName(readU16(bytes, start))]);
        return !this.isClosed;
      }
      return exchange.onFrame(type, flags, bytes, start, end) && !this.isClosed;
    } catch (error) {
      this.observerThrew(exchange, error);
      return !this.isClosed;
    }
  }

  /** Hot path. */
  #onRequest(flags: number, id: number, bytes: FastBuffer, start: number, end: number): boolean {
    if (id <= this.lastStream) return this.fail("protocol", `stream ${id} was opened before`);
    const request = readRequest(bytes, start, end, this.limits.maxStrings);
    if (request === undefined) return this.fail("protocol", "malformed REQUEST");
    this.lastStream = id;
    if (this.draining || this.streams.size >= this.options.worker.concurrency) return this.#refuse(id);
    const now = request.timeoutMs === 0 ? 0 : this.options.now();
    const exchange = new LinkExchange(id, this, request, now);
    this.counters.streams++;
    this.streams.add(exchange);
    const complete = (flags & FLAG.END) !== 0;
    const { bodyStart } = request;
    if (!exchange.begin(bodyStart === end ? null : this.own(bytes, bodyStart, end), complete)) {
      return this.fail("flow-control", "a body beyond its window");
    }
    if (exchange.contradictory) {
      exchange.contradict();
      return true;
    }
    try {
      this.handler(exchange);
      exchange.handled();
    } catch (error) {
      this.report(error);
      exchange.handlerThrew();
    }
    return !this.isClosed;
  }

  #refuse(id: number): boolean {
    this.counters.refused++;
    this.counters.resetSent++;
    return this.sendNumber(FRAME.RESET, id, RESET_CODES.refused, 2);
  }

  /** Tells the owner of an error that belongs to no caller. */
  report(error: unknown): void {
    this.options.onError?.(error);
  }

  /** The exchange's last frame is gathered; `onFinish` follows when it is handed over. */
  finishing(exchange: LinkExchange): void {
    this.#finishing.push(exchange);
    // A tunnel may end with a frame of the proxy's: then nothing is gathered, and still a turn must come.
    this.out.request();
  }

  override flush(): void {
    super.flush();
    if (this.#finishing.length > 0 && this.out.empty) this.#finishAll();
  }

  #finishAll(): void {
    const done = this.#finishing;
    this.#finishing = [];
    for (const exchange of done) {
      try {
        exchange.finished();
      } catch (error) {
        this.report(error);
      }
    }
  }

  protected override onTick(now: number): void {
    for (const exchange of this.streams.list()) {
      if (exchange.overdue(now)) this.guard(exchange, timeOut);
    }
    if (!this.draining || this.streams.size > 0) {
      this.#idleDrainSince = 0;
    } else if (this.#idleDrainSince === 0) {
      this.#idleDrainSince = now;
    } else if (now - this.#idleDrainSince >= this.limits.handshakeTimeout) {
      // The proxy should have closed by now. What it sends from here on is above the last stream CLOSE names.
      this.close("none", "drained");
    }
  }

  protected abandon(error: LinkError): void {
    const reason: AbortReason =
      error.code === "shutdown"
        ? "shutdown"
        : error.code === "lost" || error.code === "timeout"
          ? "client-disconnected"
          : "protocol-error";
    // Those whose last frame was handed over before the link ended are complete.
    if (this.out.empty) this.#finishAll();
    const all = [...this.streams.list(), ...this.#finishing];
    this.streams.clear();
    this.#finishing = [];
    for (const exchange of all) exchange.closed = true;
    for (const exchange of all) {
      try {
        exchange.cancelled(reason);
      } catch (thrown) {
        this.report(thrown);
      }
    }
  }
}

/** What a RESET of the proxy's means to the application. */
const ABORT_REASONS = {
  cancelled: "client-disconnected",
  timeout: "timeout",
  refused: "reset",
  protocol: "protocol-error",
  internal: "reset",
  overload: "reset",
  shutdown: "shutdown",
} as const satisfies Record<string, AbortReason>;

function timeOut(exchange: LinkExchange): void {
  exchange.abort("timeout");
}
