/**
 * The front of the reference deployment: the demo's hashed assets from its own disk, all else from the application's
 * containers, which it finds by the name `app` and follows when they become more or fewer.
 */
import { defineProxy } from "@portico/proxy";

export default defineProxy({
  listen: [8080],
  upstreams: {
    app: { servers: ["link://app:9000"] },
  },
  sites: [
    {
      hosts: ["*"],
      routes: [
        { path: "/assets/*", static: { root: "../dist/public/assets", cacheControl: "immutable" } },
        { path: "/*", proxy: { upstream: "app" } },
      ],
    },
  ],
  linkSecretFile: "/run/portico/link",
  log: { access: "stdout" },
});
