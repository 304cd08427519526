/** TLS towards `https://` servers. */
import { z } from "zod";

const path = z.string().min(1);

export const upstreamTls = z
  .strictObject({
    ca: path.optional().meta({
      description: "File with the certificate authorities that are believed instead of the system's, PEM.",
    }),
    certificate: path.optional().meta({ description: "File with our certificate for the server, PEM." }),
    key: path.optional().meta({ description: "File with its key, PEM." }),
    serverName: z.string().min(1).optional().meta({
      description: "Name in SNI, and in the server's certificate. Without it: the host of the server's address.",
    }),
    verify: z.boolean().prefault(true).meta({
      description: "Whether the certificate must be valid, and for that name. `false` believes anyone who answers.",
    }),
  })
  .prefault({})
  .meta({ description: "TLS to `https://` servers; paths are relative to the configuration file." });
