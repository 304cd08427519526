/** Why a socket that is bound cannot be listened on. */
import { PorticoServerError } from "./error.ts";

/** Two sockets may be bound to one port as long as nobody listens: of two servers that start at once, one learns it here. */
export function listenError(error: Error, url: string): PorticoServerError {
  const taken = (error as NodeJS.ErrnoException).code === "EADDRINUSE";
  return new PorticoServerError(
    "bind",
    `cannot listen on ${url}: ${taken ? "another process already listens there" : error.message}`,
    { cause: error },
  );
}
