/**
 * The transport to a server behind TLS: undici's pool, spoken to by `dispatch`. Plain servers have `http-client.ts`
 * (docs/adr/http-upstream-client.md); undici is here for what is negotiated inside TLS, and is loaded with the first
 * such server.
 *
 * Certificates are verified, for the name in the configuration and never for the Host field of a client.
 */
import { createRequire } from "node:module";
import { isIP } from "node:net";
import type * as Library from "undici";
import type { ServerAddress } from "./address.ts";
import { HttpTransport, MAX_RESPONSE_HEAD, type HttpTransportOptions } from "./http.ts";
import { HttpsStream } from "./https-stream.ts";
import type { TransportEvents, UpstreamObserver, UpstreamRequest, UpstreamStream } from "./transport.ts";

export interface HttpsTransportOptions extends HttpTransportOptions {
  /** Certificate authorities instead of the system's, PEM. */
  readonly ca?: string | undefined;
}

type Undici = typeof Library;

let undici: Undici | undefined;

export class HttpsTransport extends HttpTransport {
  /** For the SNI extension and the certificate; also what undici compares to keep a connection. */
  readonly serverName: string;
  readonly pool: Library.Pool;
  readonly undici: Undici;

  /** `host` is the address to connect to: what the name in `address` resolved to. */
  constructor(address: ServerAddress, host: string, options: HttpsTransportOptions, events: TransportEvents) {
    super(events);
    undici ??= createRequire(import.meta.url)("undici") as Undici;
    this.undici = undici;
    this.serverName = address.host;
    const base = undici.buildConnector({
      timeout: options.connectTimeout,
      allowH2: false,
      ...(options.ca === undefined ? {} : { ca: options.ca }),
    });
    // undici would take the name from the Host field of the request, which the client chose. An address has no SNI.
    const name = isIP(this.serverName) === 0 ? this.serverName : undefined;
    const connect: Library.buildConnector.connector = (target, callback) => {
      const { servername: _client, ...rest } = target;
      base(name === undefined ? rest : { ...rest, servername: name }, callback);
    };
    this.pool = new undici.Pool(`https://${isIP(host) === 6 ? `[${host}]` : host}:${address.port}`, {
      connect,
      keepAliveTimeout: options.keepAlive,
      keepAliveMaxTimeout: options.keepAlive,
      // Times are ours to watch: one wheel for all, not a timer for each.
      headersTimeout: 0,
      bodyTimeout: 0,
      maxHeaderSize: MAX_RESPONSE_HEAD,
      allowH2: false,
    });
    this.pool.on("connect", () => events.onConnected());
  }

  open(
    request: UpstreamRequest,
    body: Uint8Array | null,
    complete: boolean,
    observer: UpstreamObserver,
  ): UpstreamStream {
    this.started();
    const stream = new HttpsStream(this, observer, !complete && request.upgrade === undefined);
    stream.dispatch(request, body);
    return stream;
  }

  suspect(): void {
    // Its connections are undici's.
  }

  protected disconnect(): void {
    void this.pool.destroy();
  }
}
