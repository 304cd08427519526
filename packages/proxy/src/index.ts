export { type AdjustedFile, type ConfigSource, defineProxy, loadConfig, printConfig } from "./config/load.ts";
export type { ProxyConfig, ResolvedConfig } from "./config/schema.ts";
export { type ConfigProblem, PorticoProxyError, type ProxyErrorCode, describeProblem } from "./errors.ts";
export { type RunningProxy, type StopMode, startProxy } from "./run/master.ts";
