import type { ProxyConfig } from "@portico/proxy";

const port: number = 8080;

export default {
  listen: [{ port }],
  sites: [{ hosts: ["*"], routes: [{ path: "/*", static: { root: "public" } }] }],
} satisfies ProxyConfig;
