/** What TLS to the servers of an upstream is made from: files read, keys checked, once for all connections. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import { type ConnectionOptions, createSecureContext, type SecureContext } from "node:tls";
import type { UpstreamTlsSettings } from "../config/schema.ts";
import { PorticoProxyError } from "../errors.ts";

export interface TlsMaterial {
  readonly context: SecureContext;
  /** The same for the same settings and the same content of the files. */
  readonly fingerprint: string;
  readonly settings: UpstreamTlsSettings;
}

/** @throws PorticoProxyError `config-unreadable` where a file cannot be read or holds no certificate or key */
export function readTls(upstream: string, settings: UpstreamTlsSettings): TlsMaterial {
  const read = (name: "ca" | "certificate" | "key"): string | undefined => {
    const file = settings[name];
    if (file === undefined) return undefined;
    try {
      return readFileSync(file, "utf8");
    } catch (cause) {
      throw unusable(upstream, name, cause);
    }
  };
  const [ca, cert, key] = [read("ca"), read("certificate"), read("key")];
  const hash = createHash("sha256").update(JSON.stringify([settings, ca, cert, key]));
  try {
    const context = createSecureContext({
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined ? {} : { cert }),
      ...(key === undefined ? {} : { key }),
    });
    return { context, fingerprint: hash.digest("base64url"), settings };
  } catch (cause) {
    throw unusable(upstream, "certificate, key or ca", cause);
  }
}

function unusable(upstream: string, what: string, cause: unknown): PorticoProxyError {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new PorticoProxyError("config-unreadable", `upstreams.${upstream}.tls: ${what}: ${reason}`, { cause });
}

/**
 * How to connect to a server of this name. Its certificate must be for the name in the configuration, never for what a
 * client says in Host. An address has no SNI, and its certificate must name it.
 */
export function tlsOptions({ context, settings }: TlsMaterial, host: string, protocol: string): ConnectionOptions {
  const name = settings.serverName ?? (isIP(host) === 0 ? host : undefined);
  return {
    secureContext: context,
    ALPNProtocols: [protocol],
    rejectUnauthorized: settings.verify,
    ...(name === undefined ? {} : { servername: name }),
  };
}
