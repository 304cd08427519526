import type { HeaderList } from "../exchange.ts";
import { fieldList } from "./fields.ts";
import { type Callback, type InternalResponse, NodeStreamError } from "./internals.ts";
import { informationalHeads } from "./raw-head.ts";
import type { Run } from "./run.ts";

/** Where a response keeps its run. On the response itself, because `socket` is taken away when it is finished. */
const RUN: unique symbol = Symbol("portico.run");

type RunningResponse = InternalResponse & { [RUN]: Run };

/**
 * Makes a `ServerResponse` answer an exchange: replaces, as properties of its own, the four ends that would touch a
 * socket. All else (headers, `write`, `end`, errors, callbacks) stays Node's, reached through whatever prototype an
 * application gives the response.
 */
export function attachResponse(response: InternalResponse, run: Run): void {
  const running = response as RunningResponse;
  running._storeHeader = storeHeader;
  running._send = send;
  running._writeRaw = writeRaw;
  running._finish = finish;
  running[RUN] = run;
  running.socket = run;
  run._httpMessage = response;
  run.response = response;
}

/**
 * In place of serialising the head. `_header` must become true to say that the head is settled; it is the status line.
 * `chunkedEncoding` stays false: framing is the transport's, and pieces are passed on as they are.
 */
function storeHeader(this: RunningResponse, firstLine: string, headers: unknown): void {
  const run = this[RUN];
  const list: HeaderList = fieldList(this, headers);
  run.status = this.statusCode;
  run.fields = list;
  this._header = `${firstLine}\r\n`;
  this._headerSent = false;
}

function send(
  this: RunningResponse,
  data: string | Uint8Array,
  encoding?: BufferEncoding | null,
  callback?: Callback | null,
): boolean {
  const run = this[RUN];
  const flowing = run.take(data, encoding, callback);
  if (data.length === 0 && !callback && !this.finished) {
    run.flush(); // flushHeaders
  }
  return flowing;
}

/** Only interim responses come this way: the rest goes through `_send`. */
function writeRaw(
  this: RunningResponse,
  data: string | Uint8Array,
  encoding?: BufferEncoding | Callback | null,
  callback?: Callback | null,
): boolean {
  const run = this[RUN];
  const done = typeof encoding === "function" ? encoding : callback;
  if (run.destroyed || run.exchange.ended) {
    return false;
  }
  const heads = informationalHeads(typeof data === "string" ? data : Buffer.from(data).toString("latin1"));
  if (heads === undefined) {
    throw new NodeStreamError("ERR_HTTP_INVALID_MESSAGE", "Only an interim response can be written past the head.");
  }
  for (const head of heads) {
    if (head.status === 100) {
      // What the client waits for is sent when its body is first asked for; the body itself waits for a reader.
      run.exchange.resume();
      run.exchange.pause();
    } else {
      run.exchange.inform(head.status, head.headers);
    }
  }
  if (done) {
    process.nextTick(done);
  }
  return true;
}

/** Last step of `OutgoingMessage#end`. */
function finish(this: RunningResponse): void {
  this._headerSent = true;
  this.emit("prefinish");
  this[RUN].finish();
}
