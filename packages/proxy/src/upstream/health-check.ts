/**
 * Active health: asks one server again and again whether it is well, over the same transport as everyone's requests,
 * so that what the check meets is what they would meet.
 */
import type { HeaderList } from "@portico/gateway/exchange";
import type { HealthSettings } from "../config/schema.ts";
import type { ServerTransport, UpstreamObserver, UpstreamRequest, UpstreamReset, UpstreamStream } from "./transport.ts";
import type { Wheel, WheelEntry } from "./wheel.ts";

/** Part of the answer's body that is looked through. */
const MOST_BODY = 64 * 1024;

/** While a server is connected to for the first time, milliseconds. */
const FIRST_PAUSE_MS = 100;

export interface HealthCheckOptions {
  readonly settings: HealthSettings;
  readonly transport: ServerTransport;
  /** The server's own address, for the Host field. */
  readonly authority: string;
  readonly wheel: Wheel;
  /** From 0 up to 1. */
  readonly random: () => number;
  /** It is well, or not, from now on; `reason` says why not. */
  readonly onVerdict: (healthy: boolean, reason: string) => void;
}

export class HealthCheck implements WheelEntry, UpstreamObserver {
  dueAt = 0;
  wheelSlot = 0;
  wheelNext: WheelEntry | null = null;
  wheelPrevious: WheelEntry | null = null;
  readonly #options: HealthCheckOptions;
  readonly #accepts: (status: number) => boolean;
  #stream: UpstreamStream | undefined;
  #asking = false;
  #stopped = false;
  #status = 0;
  #body = "";
  #received = 0;
  /** Undefined: nothing is known yet, the next answer decides. */
  #healthy: boolean | undefined;
  /** Answers in a row that say otherwise. */
  #otherwise = 0;

  constructor(options: HealthCheckOptions) {
    this.#options = options;
    this.#accepts = compileStatuses(options.settings.status);
    const { wheel } = options;
    // Soon, and not of all servers at once.
    wheel.arm(this, wheel.now() + options.random() * Math.min(options.settings.interval, 1_000));
  }

  stop(): void {
    this.#stopped = true;
    this.#options.wheel.disarm(this);
    this.#stream?.reset("cancelled");
    this.#stream = undefined;
  }

  onDeadline(): void {
    if (!this.#asking) {
      this.#ask();
      return;
    }
    this.#stream?.reset("timeout");
    this.#settle(`no answer within ${this.#options.settings.timeout} ms`);
  }

  #ask(): void {
    const { settings, transport, wheel } = this.#options;
    if (transport.kind === "link") {
      if (this.#healthy === undefined && !transport.responsive && transport.hopeful) {
        // It is being connected to: nothing is known yet.
        wheel.arm(this, wheel.now() + FIRST_PAUSE_MS);
        return;
      }
      if (!transport.responsive) {
        this.#settle("no worker reports");
        return;
      }
      // Its workers have said how they are a moment ago. A busy one is well.
      if (settings.path === undefined || transport.load() === Infinity) {
        this.#settle(undefined);
        return;
      }
    }
    this.#asking = true;
    this.#status = 0;
    this.#body = "";
    this.#received = 0;
    wheel.arm(this, wheel.now() + settings.timeout);
    try {
      this.#stream = transport.open(this.#request(), null, true, this);
    } catch (error) {
      this.#settle(error instanceof Error ? error.message : String(error));
    }
  }

  #request(): UpstreamRequest {
    const { settings, authority } = this.#options;
    const host = settings.host ?? authority;
    return {
      method: settings.method,
      scheme: "http",
      authority: host,
      target: settings.path ?? "/",
      version: "1.1",
      headers: ["Host", host, "User-Agent", "portico-health", "Accept", "*/*"],
      bodyLength: 0,
      upgrade: undefined,
      id: "health",
      traceparent: undefined,
      tracestate: undefined,
      client: { address: "", port: 0, vouchedBy: "socket" },
      tls: undefined,
      receivedAt: Date.now(),
      queuedMs: 0,
      deadline: undefined,
    };
  }

  // --- the answer ----------------------------------------------------------------------------------------------

  onInform(): void {
    // The final response counts.
  }

  onResponse(status: number, _headers: HeaderList, body: Uint8Array | null, complete: boolean): void {
    this.#status = status;
    if (complete) this.#stream = undefined;
    if (body !== null) this.onData(body);
    if (complete) this.#judge();
  }

  onData(chunk: Uint8Array): void {
    this.#received += chunk.length;
    this.#stream?.consume(chunk.length);
    const { body } = this.#options.settings;
    if (body !== undefined && this.#body.length < MOST_BODY) this.#body += Buffer.from(chunk).toString("latin1");
    if (this.#received <= MOST_BODY || this.#stream === undefined) return;
    this.#stream.reset("cancelled");
    this.#judge();
  }

  onEnd(): void {
    this.#stream = undefined;
    this.#judge();
  }

  onDrain(): void {
    // There is nothing to send.
  }

  onReset(error: UpstreamReset): void {
    this.#settle(error.message === "" ? error.code : error.message);
  }

  #judge(): void {
    const { body } = this.#options.settings;
    if (!this.#accepts(this.#status)) this.#settle(`the answer is ${this.#status}`);
    else if (body !== undefined && !this.#body.includes(Buffer.from(body).toString("latin1"))) {
      this.#settle("the answer does not have the text that it should");
    } else this.#settle(undefined);
  }

  /** One answer is known: well, or the reason why not. */
  #settle(reason: string | undefined): void {
    if (this.#stopped) return;
    this.#asking = false;
    this.#stream = undefined;
    const { settings, wheel, random, onVerdict } = this.#options;
    const healthy = reason === undefined;
    wheel.arm(this, wheel.now() + settings.interval * (1 + ((random() * 2 - 1) * settings.jitter) / 100));
    if (healthy === this.#healthy) {
      this.#otherwise = 0;
      return;
    }
    this.#otherwise++;
    if (this.#healthy !== undefined && this.#otherwise < (healthy ? settings.rise : settings.fall)) return;
    this.#healthy = healthy;
    this.#otherwise = 0;
    onVerdict(healthy, reason ?? "");
  }
}

/** Numbers and ranges such as `200-299`, as the schema has checked them. */
function compileStatuses(list: HealthSettings["status"]): (status: number) => boolean {
  const ranges = list.map((one) => {
    const [from = 0, to = from] = String(one).split("-").map(Number);
    return [from, to] as const;
  });
  return (status) => ranges.some(([from, to]) => status >= from && status <= to);
}
