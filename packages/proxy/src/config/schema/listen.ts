/** `listen`: where clients come in. */
import { z } from "zod";
import { count } from "./count.ts";

const listenObject = z.strictObject({
  port: z.number().int().min(0).max(65_535).optional().meta({ description: "TCP port; 0 lets the system choose one." }),
  host: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "Address to listen on. Without it: every address of the machine, IPv4 and IPv6." }),
  unix: z
    .string()
    .min(1)
    .optional()
    .meta({ description: "Path of a unix socket, relative to the configuration file, instead of `port`." }),
  mode: z
    .string()
    .regex(/^0?[0-7]{3}$/, { error: 'must be an octal file mode, such as "0660"' })
    .optional()
    .meta({ description: 'File mode of the unix socket, octal, such as "0660".' }),
  backlog: count(1).prefault(1024).meta({ description: "Connections the system holds until a thread accepts them." }),
});

// `host:port`, `[v6]:port`, `:port`, `unix:/path`.
const LISTEN_TEXT = /^(?:unix:(?<unix>.+)|(?:(?<name>[^\s:[\]]+)|\[(?<v6>[0-9a-fA-F:.]+)\])?:(?<port>\d{1,5}))$/;

function decodeListen(value: number | string | z.input<typeof listenObject>): z.input<typeof listenObject> {
  if (typeof value === "number") return { port: value };
  if (typeof value !== "string") return { ...value };
  const parts = LISTEN_TEXT.exec(value)?.groups ?? {};
  if (parts["unix"] !== undefined) return { unix: parts["unix"] };
  const host = parts["name"] ?? parts["v6"];
  return { port: Number(parts["port"]), ...(host === undefined ? {} : { host }) };
}

export const listen = z
  .codec(
    z.union(
      [
        z.number().int().min(0).max(65_535),
        z.string().regex(LISTEN_TEXT, { error: 'must be "host:port", "[address]:port", ":port" or "unix:/path"' }),
        listenObject,
      ],
      {
        error:
          'must be a port, an address such as "127.0.0.1:8080" or "unix:/path", or an object with `port` or `unix`',
      },
    ),
    listenObject,
    { decode: decodeListen, encode: (value) => ({ ...value, backlog: value.backlog ?? 1024 }) },
  )
  .meta({ description: 'A port, an address (`"127.0.0.1:8080"`, `"[::1]:80"`, `"unix:/path"`), or an object.' });
