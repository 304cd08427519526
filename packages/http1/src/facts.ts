import type { ClientFacts, Endpoint, ExchangeFacts, TlsFacts } from "@portico/gateway/exchange";
import { isIP, plainAddress } from "@portico/gateway/address";
import { isFieldValue, listElements } from "./characters.ts";
import { fieldValue } from "./fields.ts";

/** What is known of a connection before its first byte. */
export interface ConnectionFacts {
  readonly peer: Endpoint;
  readonly local: Endpoint;
  readonly client: ClientFacts;
  readonly tls: TlsFacts | undefined;
  readonly scheme: "http" | "https";
}

/** Whether an address belongs to a hop whose forwarded fields are believed. Unix peers ask with `unix:`. */
export type Trust = (address: string) => boolean;

/** A safe integer. */
const DEADLINE = /^\d{1,15}$/;
const REQUEST_ID = /^[\x21-\x7e]{1,128}$/;
/** W3C Trace Context: version `ff` and zero ids are invalid, later versions may carry more. */
const TRACEPARENT = /^(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-.*)?$/;
/** W3C: a tracestate of up to 512 characters must be passed on. */
const TRACESTATE_LENGTH = 512;

/** Makes request ids: a random prefix for the process and a counter. Unique, short, and cheap; not a secret. */
export function requestIds(): () => string {
  const random = globalThis.crypto.getRandomValues(new Uint8Array(8));
  const prefix = Buffer.from(random).toString("base64url");
  let count = 0;
  return () => `${prefix}-${(count++).toString(36)}`;
}

/** Facts of one request, each computed when it is first asked for. */
export class RequestFacts implements ExchangeFacts {
  readonly receivedAt: number;
  readonly queuedMs = 0;
  private readonly headers: readonly string[];
  private readonly connection: ConnectionFacts;
  private readonly trust: Trust | undefined;
  private readonly nextId: () => string;
  private knownId: string | undefined = undefined;
  private knownClient: ClientFacts | undefined = undefined;

  /** `trust` is given only where the peer itself is trusted. */
  constructor(
    headers: readonly string[],
    connection: ConnectionFacts,
    trust: Trust | undefined,
    nextId: () => string,
    receivedAt: number,
  ) {
    this.headers = headers;
    this.connection = connection;
    this.trust = trust;
    this.nextId = nextId;
    this.receivedAt = receivedAt;
  }

  get id(): string {
    if (this.knownId === undefined) {
      const given = this.trust === undefined ? undefined : fieldValue(this.headers, "x-request-id");
      this.knownId = given !== undefined && REQUEST_ID.test(given) ? given : this.nextId();
    }
    return this.knownId;
  }

  /** From a trusted peer, in X-Request-Deadline: milliseconds since the epoch. */
  get deadline(): number | undefined {
    const given = this.trust === undefined ? undefined : fieldValue(this.headers, "x-request-deadline");
    return given !== undefined && DEADLINE.test(given) ? Number(given) : undefined;
  }

  get traceparent(): string | undefined {
    const value = fieldValue(this.headers, "traceparent");
    return value !== undefined && TRACEPARENT.test(value) ? value : undefined;
  }

  get tracestate(): string | undefined {
    const value = this.traceparent === undefined ? undefined : fieldValue(this.headers, "tracestate");
    return value !== undefined && value.length <= TRACESTATE_LENGTH && isFieldValue(value) ? value : undefined;
  }

  get peer(): Endpoint {
    return this.connection.peer;
  }

  get local(): Endpoint {
    return this.connection.local;
  }

  get tls(): TlsFacts | undefined {
    return this.connection.tls;
  }

  get client(): ClientFacts {
    this.knownClient ??= this.trust === undefined ? this.connection.client : this.forwardedClient(this.trust);
    return this.knownClient;
  }

  /** The last address of X-Forwarded-For that is not itself a trusted hop: everything left of it is hearsay. */
  private forwardedClient(trust: Trust): ClientFacts {
    const hops: string[] = [];
    for (let at = 0; at < this.headers.length; at += 2) {
      if ((this.headers[at] as string).toLowerCase() === "x-forwarded-for")
        hops.push(...listElements(this.headers[at + 1] as string));
    }
    let client: string | undefined;
    for (let at = hops.length - 1; at >= 0; at--) {
      const address = withoutPort(hops[at] as string);
      if (address === undefined) break;
      client = address;
      if (!trust(address)) break;
    }
    return client === undefined ? this.connection.client : { address: client, port: 0, vouchedBy: "forwarded" };
  }
}

/** The scheme that a trusted front gives, else undefined. */
export function forwardedScheme(headers: readonly string[]): "http" | "https" | undefined {
  const value = fieldValue(headers, "x-forwarded-proto")?.toLowerCase();
  return value === "http" || value === "https" ? value : undefined;
}

function withoutPort(hop: string): string | undefined {
  const bare = /^\[([0-9a-f:.]+)\](?::[0-9]+)?$/.exec(hop)?.[1] ?? /^([0-9.]+):[0-9]+$/.exec(hop)?.[1] ?? hop;
  return isIP(bare) ? plainAddress(bare) : undefined;
}
