/** What is said to those who look for TLS here. */

/** Flags of gunicorn and uvicorn that begin TLS. */
export const TLS_FLAGS: ReadonlySet<string> = new Set([
  "tls",
  "ssl",
  "https",
  "cert",
  "key",
  "certfile",
  "keyfile",
  "ca-certs",
  "ciphers",
  "ssl-version",
  "cert-reqs",
  "ssl-certfile",
  "ssl-keyfile",
]);

export const TLS_IS_THE_FRONTS_JOB =
  "TLS is the front's job: put portico-proxy, nginx or a load balancer before this server, and bind a unix socket or a loopback address here";
