/** The client's end of a forwarded exchange. */
import type { AbortReason, ExchangeObserver, HeaderList } from "@portico/gateway/exchange";

/** Who hears of the client. */
export interface ClientEvents {
  onClientData(chunk: Uint8Array): void;
  onClientEnd(trailers: HeaderList): void;
  onClientDrain(): void;
  onClientFinish(): void;
  onClientAbort(reason: AbortReason): void;
}

/** The exchange's events, kept apart from the stream's, whose names are the same. */
export class ClientSide implements ExchangeObserver {
  readonly #forward: ClientEvents;

  constructor(forward: ClientEvents) {
    this.#forward = forward;
  }
  onData(chunk: Uint8Array): void {
    this.#forward.onClientData(chunk);
  }
  onEnd(trailers: HeaderList): void {
    this.#forward.onClientEnd(trailers);
  }
  onDrain(): void {
    this.#forward.onClientDrain();
  }
  onFinish(): void {
    this.#forward.onClientFinish();
  }
  onAbort(reason: AbortReason): void {
    this.#forward.onClientAbort(reason);
  }
}
