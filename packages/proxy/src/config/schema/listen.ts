/** `listen`: where clients come in. */
import { z } from "zod";
import { duration } from "../units.ts";
import { count } from "./count.ts";
import { clientList } from "./pattern.ts";

const proxyProtocol = z.strictObject({
  trusted: clientList.meta({
    description:
      "Peers that begin every connection with a PROXY header (version 1 or 2): addresses, CIDR ranges, `loopback`, `private`, `unix`. The client is who the header says. Connections of all others are plain HTTP.",
  }),
  timeout: duration.prefault("5s").meta({ description: "Time for the header; beyond it the connection is closed." }),
});

// More than a busy proxy lets wait in a moment; the kernel caps it at net.core.somaxconn (4096).
const DEFAULT_BACKLOG = 1024;

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
  owner: z
    .string()
    .regex(/^[a-z0-9_][a-z0-9_.-]*(:[a-z0-9_][a-z0-9_.-]*)?$/i, { error: 'must be "user" or "user:group"' })
    .optional()
    .meta({ description: 'Owner of the unix socket, `"user"` or `"user:group"`, names or numbers.' }),
  systemd: z
    .string()
    .regex(/^[^\s:]*$/, { error: "must be the name of a socket (FileDescriptorName=), or empty for all" })
    .optional()
    .meta({
      description:
        'Takes sockets that systemd passed to the master, those of this name (`FileDescriptorName=`), all for `""`, instead of `port`.',
    }),
  proxyProtocol: proxyProtocol
    .optional()
    .meta({ description: "Takes the client's address from a load balancer in front (PROXY protocol)." }),
  backlog: count(1)
    .prefault(DEFAULT_BACKLOG)
    .meta({ description: "Connections the system holds until a thread accepts them." }),
});

// `host:port`, `[v6]:port`, `:port`, `unix:/path`, `systemd`, `systemd:NAME`.
const LISTEN_TEXT =
  /^(?:unix:(?<unix>.+)|systemd(?::(?<systemd>[^\s:]+))?|(?:(?<name>[^\s:[\]]+)|\[(?<v6>[0-9a-fA-F:.]+)\])?:(?<port>\d{1,5}))$/;

function decodeListen(value: number | string | z.input<typeof listenObject>): z.input<typeof listenObject> {
  if (typeof value === "number") return { port: value };
  if (typeof value !== "string") return { ...value };
  const parts = LISTEN_TEXT.exec(value)?.groups ?? {};
  if (parts["unix"] !== undefined) return { unix: parts["unix"] };
  if (value.startsWith("systemd")) return { systemd: parts["systemd"] ?? "" };
  const host = parts["name"] ?? parts["v6"];
  return { port: Number(parts["port"]), ...(host === undefined ? {} : { host }) };
}

// `encode` gets what was encoded already and gives what will be once more: numbers, therefore.
export const listen = z
  .codec(
    z.union(
      [
        z.number().int().min(0).max(65_535),
        z.string().regex(LISTEN_TEXT, {
          error: 'must be "host:port", "[address]:port", ":port", "unix:/path" or "systemd:name"',
        }),
        listenObject,
      ],
      {
        error:
          'must be a port, an address such as "127.0.0.1:8080" or "unix:/path", or an object with `port` or `unix`',
      },
    ),
    listenObject,
    { decode: decodeListen, encode: (value) => listenObject.parse(value) },
  )
  .meta({
    description:
      'A port, an address (`"127.0.0.1:8080"`, `"[::1]:80"`, `"unix:/path"`, `"systemd:web"`), or an object.',
  });
