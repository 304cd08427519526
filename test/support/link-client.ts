/** The front's end of one link, without a front: what a suite needs to ask a worker. */
import { connect } from "node:net";
import type { NetConnectOpts } from "node:net";
import type { ClientSession, PeerHello, WorkerStatus } from "@portico/link";
import { connectLink } from "@portico/link/socket";

export interface LinkAnswer {
  readonly status: number;
  readonly text: string;
}

export class LinkClient implements Disposable {
  readonly session: ClientSession;
  readonly hello: PeerHello;
  /** Resolves when the worker says that it leaves. */
  readonly drained: Promise<void>;
  /** Resolves when the link is over, with why, or undefined for an orderly end. */
  readonly closed: Promise<Error | undefined>;
  /** Resolves with the first STATUS. */
  readonly status: Promise<WorkerStatus>;

  private constructor(
    session: ClientSession,
    hello: PeerHello,
    moments: Pick<LinkClient, "drained" | "closed" | "status">,
  ) {
    this.session = session;
    this.hello = hello;
    this.drained = moments.drained;
    this.closed = moments.closed;
    this.status = moments.status;
  }

  /** Connects and shakes hands; rejects with why the link was refused. */
  static async open(to: NetConnectOpts, secret?: string): Promise<LinkClient> {
    const ready = Promise.withResolvers<PeerHello>();
    const drained = Promise.withResolvers<void>();
    const closed = Promise.withResolvers<Error | undefined>();
    const status = Promise.withResolvers<WorkerStatus>();
    const session = connectLink(connect(to), {
      ...(secret !== undefined && { secret }),
      onReady: ready.resolve,
      onDrain: drained.resolve,
      onStatus: status.resolve,
      onClosed: (error) => {
        closed.resolve(error);
        ready.reject(error ?? new TypeError("the link was closed before it was ready"));
      },
    });
    const hello = await ready.promise;
    return new LinkClient(session, hello, { drained: drained.promise, closed: closed.promise, status: status.promise });
  }

  ask(target: string, method = "GET", body = ""): Promise<LinkAnswer> {
    const bytes = Buffer.from(body);
    const parts: Uint8Array[] = [];
    let status = 0;
    return new Promise((resolve, reject) => {
      const finish = (): void => resolve({ status, text: Buffer.concat(parts).toString() });
      const stream = this.session.open(
        {
          method,
          scheme: "http",
          authority: "app.test",
          target,
          version: "1.1",
          headers: [
            "host",
            "app.test",
            ...(body === "" ? [] : ["content-type", "text/x-thing", "content-length", `${bytes.length}`]),
          ],
          bodyLength: bytes.length,
          upgrade: undefined,
          id: "link-1",
          traceparent: undefined,
          tracestate: undefined,
          client: { address: "203.0.113.7", port: 1234, vouchedBy: "socket" },
          tls: undefined,
          receivedAt: Date.now(),
          queuedMs: 0,
          deadline: undefined,
        },
        body === "" ? null : bytes,
        true,
        {
          onInform() {},
          onResponse(code, _headers, first, complete) {
            status = code;
            if (first !== null) this.onData(first);
            if (complete) finish();
          },
          onData(chunk) {
            parts.push(Uint8Array.from(chunk));
            stream.consume(chunk.length);
          },
          onEnd: finish,
          onDrain() {},
          onReset: (reset) => reject(Object.assign(new TypeError(reset.message), reset)),
        },
      );
    });
  }

  [Symbol.dispose](): void {
    this.session.close("none", "the test is over");
  }
}
