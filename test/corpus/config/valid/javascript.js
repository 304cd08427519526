export default {
  upstreams: { app: { servers: [8001, 8002].map((port) => `http://127.0.0.1:${port}`) } },
  sites: [{ hosts: ["*"], routes: [{ path: "/*", proxy: { upstream: "app" } }] }],
};
