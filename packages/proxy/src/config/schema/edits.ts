/** What a `proxy` route changes in the fields of requests and responses. */
import { z } from "zod";

const fields = z.record(z.string().min(1), z.string());

const edits = z.strictObject({
  remove: z.array(z.string().min(1)).optional().meta({ description: "Names of fields that are taken out." }),
  set: fields.optional().meta({ description: "Fields that go in place of all of the same name." }),
  add: fields.optional().meta({ description: "Fields that are added to those of the same name." }),
});

export const requestHeaders = edits.meta({
  description:
    "Fields that servers get, in this order: `remove`, `set`, `add`. Values may have `$clientAddress`, `$requestId`, `$scheme`, `$host`, `$hostname`, `$path` and `$query`.",
});

export const responseHeaders = edits.meta({
  description: "Fields of the application's responses, before they go to the client. Values are fixed.",
});

export const rewrites = z
  .strictObject({
    locations: z.record(z.string().min(1), z.string()).optional().meta({
      description:
        'Beginnings of Location, Content-Location and Refresh, and what stands there instead: `{ "http://app.internal:8000/": "/" }`. The longest that fits.',
    }),
    cookieDomains: z.record(z.string().min(1), z.string()).optional().meta({
      description:
        "Domains of Set-Cookie and what stands there instead; empty takes the attribute out, so that the cookie is for the one host that was asked. `*`: every other domain.",
    }),
    cookiePaths: z.record(z.string().startsWith("/"), z.string().startsWith("/")).optional().meta({
      description:
        'Beginnings of the paths of Set-Cookie, whole segments, and what stands there instead: `{ "/": "/app/" }`. The longest that fits.',
    }),
  })
  .meta({ description: "Makes the addresses that an application writes those that its clients know." });
