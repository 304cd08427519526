import { X509Certificate } from "node:crypto";

/** The fields of `tls.PeerCertificate` that a PEM certificate gives, in the form `getPeerCertificate` has. */
export type PeerCertificate = Record<string, unknown>;

/** The client's certificate as `tls.TLSSocket#getPeerCertificate` gives it; an empty object where none was verified. */
export function peerCertificate(pem: string | undefined, detailed: boolean): PeerCertificate {
  if (pem === undefined) {
    return {};
  }
  const certificate = new X509Certificate(pem);
  // `toLegacyObject` makes just what TLS sockets return, issuer chain aside, which only the front has seen.
  const legacy = certificate.toLegacyObject() as unknown as PeerCertificate;
  return detailed ? { ...legacy, issuerCertificate: legacy } : legacy;
}
