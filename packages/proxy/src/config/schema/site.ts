/** `sites`: which names are served, by which routes. */
import { z } from "zod";
import { route } from "./route.ts";

const HOST = /^(\*|(\*\.)?([a-z0-9_]([a-z0-9_-]*[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?|\[[0-9a-f:.]+\])$/i;

export const site = z.strictObject({
  hosts: z
    .array(z.string().regex(HOST, { error: 'must be a host name, "*.example.com" or "*"' }))
    .min(1, { error: 'must name at least one host; "*" is every other' })
    .meta({
      description:
        "Names of the site, without port: `example.com`, `*.example.com` (any name below it), `*` (every name no other site has). An unknown name is answered 421.",
    }),
  routes: z.array(route).min(1, { error: "must have at least one route" }).meta({
    description: "The routes. An exact path goes before a prefix, a longer prefix before a shorter, then the first.",
  }),
});
