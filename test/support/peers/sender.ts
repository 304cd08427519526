/** A client that sends any bytes, and reads what comes back for as long as there is something to come. */
import { connect } from "node:net";
import { DATA, DEFAULT_LIMITS, END, FAILED, HEAD, NEED_MORE, ResponseParser } from "@portico/http1";

export interface Answer {
  readonly status: number;
  readonly headers: readonly string[];
  readonly body: string;
}

export interface Exchanged {
  /** Final responses that came whole. */
  readonly answers: readonly Answer[];
  /** `kept`, `closed`, `incomplete`, `silent`, or the rule that the peer's own bytes broke. */
  readonly end: string;
}

export interface Sending {
  readonly port?: number;
  readonly path?: string;
  /** A loopback address of its own: the peer's X-Forwarded-For then says whose message it is. */
  readonly localAddress?: string;
  readonly pieces: readonly Buffer[];
  /** Methods of the messages that may be answered: how many answers to wait for, and which have no body. */
  readonly methods: readonly string[];
  /** Ends our half at once when so many answers have come: nothing more is expected. */
  readonly half?: boolean;
}

/** Larger than what a front may pass on with fields of its own. */
const LIMITS = { ...DEFAULT_LIMITS, header: 131_072, field: 131_072, fields: 1200, interim: 100 };

/** No answer and no end for so long is a hang. */
const SILENCE_MS = 8000;

/** Sends the pieces one turn after the other; resolves when all answers came or the peer ended. */
export function send(sending: Sending): Promise<Exchanged> {
  const { port, path, localAddress, methods } = sending;
  const { promise, resolve } = Promise.withResolvers<Exchanged>();
  const socket = connect({
    ...(path === undefined ? { port: port!, host: "127.0.0.1" } : { path }),
    ...(localAddress === undefined ? {} : { localAddress }),
    noDelay: true,
    allowHalfOpen: true,
  });
  const parser = new ResponseParser(LIMITS);
  const answers: Answer[] = [];
  let parts = "";
  let status = 0;
  let headers: readonly string[] = [];
  for (const method of methods) parser.expect({ method });
  // What was refused is answered too, though no message of it was whole.
  parser.expect({ method: "GET" });

  const settle = (end: string): void => {
    socket.destroy();
    resolve({ answers, end });
  };
  const take = (event: number): void => {
    if (event === HEAD) ({ status, headers } = parser);
    else if (event === DATA) parts += parser.data.toString("latin1");
    else if (event === END) {
      if (status >= 200) answers.push({ status, headers, body: parts });
      parts = "";
    }
  };
  let ended = false;
  const more = (): void => {
    if (ended || answers.length < methods.length) return;
    if (sending.half !== true) settle("kept");
    else {
      ended = true;
      socket.end();
    }
  };
  socket.setTimeout(SILENCE_MS, () => settle("silent"));
  socket.on("data", (chunk: Buffer) => {
    parser.feed(chunk);
    let event = parser.next();
    for (; event !== NEED_MORE && event !== FAILED; event = parser.next()) take(event);
    if (event === FAILED) settle(parser.error!.rule);
    else more();
  });
  socket.on("error", () => {});
  socket.on("end", () => {
    const last = parser.finish();
    take(last);
    // Whether an answer beyond the expected ones has a body is not known: it may be to HEAD.
    settle(last === FAILED && answers.length < methods.length ? "incomplete" : "closed");
  });
  socket.on("close", () => settle("closed"));
  let at = 0;
  const next = (): void => {
    const piece = sending.pieces[at++];
    if (piece === undefined || socket.destroyed) {
      more();
      return;
    }
    socket.write(piece);
    if (at < sending.pieces.length) setImmediate(next);
    else more();
  };
  next();
  return promise;
}
