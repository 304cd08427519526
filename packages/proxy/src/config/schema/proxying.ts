/** `proxy` of a route: how a request is passed on. */
import { z } from "zod";
import { duration, size } from "../units.ts";
import { requestHeaders, responseHeaders, rewrites } from "./edits.ts";
import { mirror, split } from "./split.ts";

const buffering = z.enum(["full", "stream"]);

const requestBuffer = z
  .strictObject({
    mode: buffering.prefault("full").meta({
      description: "`full`: read the whole body before a server is bothered; `stream`: pass it on as it comes.",
    }),
    memory: size
      .prefault("64KiB")
      .meta({ description: "Part of a body that is held in memory; the rest goes to a temporary file." }),
  })
  .prefault({})
  .meta({ description: "How request bodies are taken." });

const responseBuffer = z
  .strictObject({
    mode: buffering.prefault("full").meta({
      description: "`full`: take the response off the server as fast as it comes; `stream`: at the client's pace.",
    }),
    memory: size.prefault("256KiB").meta({
      description: "Part of a response that is held in memory for a slow client; the rest goes to a temporary file.",
    }),
    disk: size
      .prefault("1GiB")
      .meta({ description: "Most that is written to the temporary file; beyond it, the server is slowed down." }),
  })
  .prefault({})
  .meta({ description: "How responses are taken. Event streams and `X-Accel-Buffering: no` are never held back." });

export const proxy = z.strictObject({
  upstream: z.string().min(1).optional().meta({
    description: "Name of the upstream, a key of `upstreams`. Either this or `split`.",
  }),
  split: split.optional().meta({ description: "Divides the requests among upstreams: canaries, A/B tests." }),
  mirror: mirror.optional().meta({ description: "Copies requests to another upstream, whose answers nobody sees." }),
  host: z.string().min(1).prefault("pass").meta({
    description:
      "Host field for the server: `pass` the client's, `upstream` the server's own address, or a fixed value.",
  }),
  connect: z.boolean().optional().meta({
    description:
      "Whether CONNECT is passed on: a server of the upstream opens the tunnel, or refuses. The site is that of the name that is asked for, the route the first that says so. Without it: 501.",
  }),
  forwarded: z.boolean().optional().meta({
    description: "Whether servers get the Forwarded field (RFC 7239), besides X-Forwarded-*. Without it: no.",
  }),
  requestHeaders: requestHeaders.optional(),
  responseHeaders: responseHeaders.optional(),
  rewrites: rewrites.optional(),
  request: requestBuffer,
  response: responseBuffer,
  responseTimeout: duration.optional().meta({ description: "Instead of the upstream's `responseTimeout`." }),
  idleTimeout: duration.optional().meta({ description: "Instead of the upstream's `idleTimeout`." }),
});
