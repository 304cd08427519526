/** Where it listens, and whom it believes. */
import * as z from "zod";
import { count, octal, row, seconds } from "./row.ts";

/** gunicorn's; kernels cap it at net.core.somaxconn. */
const DEFAULT_BACKLOG = 2048;

export const listening = {
  bind: row(z.array(z.string().min(1)).min(1).default(["127.0.0.1:8000"]), {
    flags: "-b, --bind <address>",
    from: "list",
    about:
      "Address to listen on, any number of times: `host:port`, `unix:/path`, `fd://N`, `systemd:` for HTTP/1.1; `link://host:port`, `link+unix:/path` for a front that speaks the link protocol. Options may follow: `unix:/path?mode=0660&owner=www-data:www-data`, `host:port?proxy-protocol`. Where systemd has passed sockets, the default is those.",
    changes: "reload",
  }),
  backlog: row(count(1).default(DEFAULT_BACKLOG), {
    flags: "--backlog <connections>",
    from: "number",
    about: "Connections that may wait in the kernel to be accepted.",
    changes: "reload",
  }),
  reusePort: row(z.boolean().default(false), {
    flags: "--reuse-port",
    from: "switch",
    about: "Sets SO_REUSEPORT, so that several servers may listen on one port; the kernel deals connections out.",
    changes: "restart",
  }),
  socketMode: row(octal().default("0660"), {
    flags: "--socket-mode <octal>",
    from: "text",
    about: "File mode of unix sockets.",
    changes: "reload",
  }),
  socketOwner: row(z.string().min(1).optional(), {
    flags: "--socket-owner <user[:group]>",
    from: "text",
    about: "Owner of unix sockets, by name or number: the front's user or group. Default: who starts the server.",
    changes: "reload",
  }),
  proxyProtocol: row(z.boolean().default(false), {
    flags: "--proxy-protocol",
    from: "switch",
    about:
      "Every HTTP connection begins with a PROXY protocol header, version 1 or 2, which says who the client is. Connections without one, or not from `forwardedAllowIps`, are closed. For one address: `host:port?proxy-protocol`.",
    changes: "reload",
  }),
  linkSecret: row(z.string().min(16, "must be at least 16 characters long").optional(), {
    from: "text",
    about:
      "Secret shared with the front, which links over TCP must prove. There is no flag, because a command line is public; the environment variable is PORTICO_LINK_SECRET.",
    changes: "reload",
  }),
  linkSecretFile: row(z.string().min(1).optional(), {
    flags: "--link-secret-file <file>",
    from: "text",
    about: "File that holds the link secret; white space around it is dropped.",
    changes: "reload",
  }),
  forwardedAllowIps: row(z.array(z.string().min(1)).default(["127.0.0.0/8", "::1", "unix"]), {
    flags: "--forwarded-allow-ips <address>",
    from: "list",
    about:
      "Fronts whose X-Forwarded-For, X-Forwarded-Proto and X-Request-Id are believed: addresses, CIDR ranges, `unix`, or `*`. Repeatable; a comma separates too.",
    changes: "reload",
  }),
  accel: row(
    z.array(z.string().regex(/^\/[^=]*=\/.*$/, "must be FOLDER=LOCATION, such as /srv/files=/protected/")).default([]),
    {
      flags: "--accel <folder=location>",
      from: "list",
      about:
        "Folder whose files the front sends itself, and the internal location it has for it: `/srv/files=/protected/`. `ctx.file` and `ctx.internalRedirect` then answer with X-Accel-Redirect, so it is only for a front that acts on that field and keeps it to itself. Repeatable.",
      changes: "reload",
    },
  ),
  keepAlive: row(seconds(75), {
    flags: "--keep-alive <seconds>",
    from: "number",
    about:
      "How long an idle HTTP connection is kept. Longer than the front's own (60 s), so that the front lets go first.",
    changes: "reload",
  }),
} as const;
