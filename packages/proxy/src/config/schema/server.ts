/** One server of an upstream. */
import { z } from "zod";
import { count } from "./count.ts";

const SERVER_ADDRESS =
  /^((http|https):\/\/[^/?#\s]+\/?|link:\/\/[^/?#\s]+:\d+|(http|link)\+unix:\/[^\0]+|(http|https|link)\+srv:\/\/[^/?#\s:]+)$/;

const address = z.string().regex(SERVER_ADDRESS, {
  error:
    "must be an address: http://host:port, https://host:port, http+unix:/path, http+srv://name, link://host:port or link+unix:/path",
});

const serverObject = z.strictObject({
  address: address.meta({
    description:
      "`http://host:port`, `https://host:port`, `http+unix:/path`, `link://host:port`, `link+unix:/path`; `http+srv://NAME`, `https+srv://NAME`, `link+srv://NAME` take servers, ports, weights and backups from the SRV records of a name.",
  }),
  weight: count(1)
    .max(10_000)
    .prefault(1)
    .meta({ description: "Share of the requests, relative to the other servers." }),
  maxConnections: count().prefault(0).meta({
    description:
      "Requests under way at once, all threads together; 0: no limit of ours (over the link, the workers announce their own).",
  }),
  backup: z.boolean().prefault(false).meta({ description: "Gets requests only while no other server is up." }),
  drain: z.boolean().prefault(false).meta({ description: "Gets no new requests, and finishes what it has." }),
});

export const server = z.codec(z.union([address, serverObject]), serverObject, {
  decode: (value) => (typeof value === "string" ? { address: value } : { ...value }),
  encode: (value) => ({
    address: value.address,
    weight: value.weight ?? 1,
    maxConnections: value.maxConnections ?? 0,
    backup: value.backup ?? false,
    drain: value.drain ?? false,
  }),
});
