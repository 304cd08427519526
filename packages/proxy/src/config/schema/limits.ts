/** `limits` and `timeouts` of every connection and request. */
import { z } from "zod";
import { duration, size } from "../units.ts";
import { count } from "./count.ts";

export const limits = z.strictObject({
  requestLine: size.prefault("8KiB").meta({ description: "Longest request line; beyond it 414." }),
  headerField: size.prefault("8KiB").meta({ description: "Longest header field; beyond it 431." }),
  headerBlock: size.prefault("32KiB").meta({ description: "All header fields together; beyond it 431." }),
  headerFields: count(1).prefault(100).meta({ description: "Number of header fields; beyond it 431." }),
  bodySize: size
    .prefault("10MiB")
    .meta({ description: "Largest request body; beyond it 413. A route may set its own." }),
  connections: count(1)
    .prefault(16_384)
    .meta({ description: "Client connections at once, all threads together; beyond it new ones are closed at once." }),
  requestsPerConnection: count(1)
    .prefault(1000)
    .meta({ description: "Requests over one client connection before it is closed in an orderly way." }),
});

export const timeouts = z.strictObject({
  header: duration.prefault("15s").meta({ description: "Time for the whole head of a request; beyond it 408." }),
  body: duration.prefault("30s").meta({ description: "Time between two parts of a request's body; beyond it 408." }),
  bodyRate: count()
    .prefault(240)
    .meta({ description: "Slowest rate of a request's body, bytes a second, after the first five seconds; 0: none." }),
  keepAlive: duration.prefault("75s").meta({ description: "How long an idle client connection is kept." }),
  send: duration
    .prefault("60s")
    .meta({ description: "How long a client may take nothing of a response before its connection is closed." }),
  graceful: duration.prefault("30s").meta({ description: "How long a graceful stop waits for requests under way." }),
});
