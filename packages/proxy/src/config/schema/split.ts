/** `split` and `mirror` of a `proxy` route. */
import { z } from "zod";
import { duration, size } from "../units.ts";
import { count } from "./count.ts";

// 100 in parts of a thousandth: a canary of 0.1 % is a whole number of none.
const weight = z.number().min(0).max(1_000_000);

export const split = z.strictObject({
  upstreams: z
    .record(z.string().min(1), weight)
    .meta({ description: "Upstreams and their shares, relative to each other: `{ stable: 95, canary: 5 }`." }),
  by: z
    .string()
    .regex(/^(request|client|cookie:[!#$%&'*+\-.^_`|~0-9A-Za-z]+|header:[!#$%&'*+\-.^_`|~0-9A-Za-z]+)$/, {
      error: "must be `request`, `client`, `cookie:NAME` or `header:NAME`",
    })
    .prefault("request")
    .meta({
      description:
        "What keeps its draw: `request` draws each time; `client`, the client's address; `header:NAME`, a field's value; `cookie:NAME`, a cookie that we set with the name of the upstream that was drawn. Where the field is absent, the client's address.",
    }),
  cookieAge: duration
    .prefault("1d")
    .meta({ description: "How long that cookie keeps the draw; 0: until the browser is closed." }),
});

export const mirror = z.strictObject({
  upstream: z
    .string()
    .min(1)
    .meta({ description: "Upstream that gets a copy of the requests; its answers are dropped." }),
  share: z.number().min(0).max(100).prefault(100).meta({ description: "Per cent of the requests that are copied." }),
  bodySize: size.prefault("64KiB").meta({
    description:
      "Largest request body that is copied; a request with a larger one reaches the mirror not at all, or broken off.",
  }),
  concurrency: count(1)
    .prefault(64)
    .meta({ description: "Copies under way at once, for each thread; beyond it requests are not copied." }),
});
