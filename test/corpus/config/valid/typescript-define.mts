import { join } from "node:path";

const folder: string = join("dist", "client");
const defineProxy = <Config>(config: Config): Config => config;

export default defineProxy({
  sites: [{ hosts: ["*"], routes: [{ path: "/*" as const, static: { root: folder } }] }],
});
