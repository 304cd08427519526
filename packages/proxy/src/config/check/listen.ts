/** Addresses to listen on. */
import { type ConfigCheck, list, record } from "./raw.ts";

function listenKey(value: unknown): string | undefined {
  if (typeof value === "number") return value === 0 ? undefined : `:${value}`;
  if (typeof value === "string") return value.endsWith(":0") ? undefined : value;
  const { port, host, unix, systemd } = record(value);
  if (typeof unix === "string") return `unix:${unix}`;
  if (typeof systemd === "string") return systemd === "" ? "systemd" : `systemd:${systemd}`;
  return typeof port === "number" && port !== 0 ? `${typeof host === "string" ? host : ""}:${port}` : undefined;
}

export const checkListen: ConfigCheck = (config, found) => {
  const seen = new Map<string, number>();
  list(config["listen"]).forEach((one, index) => {
    if (typeof one === "object" && one !== null) {
      const { port, unix, systemd, host, mode, owner } = record(one);
      if ([port, unix, systemd].filter((way) => way !== undefined).length !== 1)
        found.push({ path: ["listen", index], message: "must have either `port`, `unix` or `systemd`" });
      if (host !== undefined && port === undefined)
        found.push({ path: ["listen", index, "host"], message: "is for `port` only" });
      if (mode !== undefined && unix === undefined)
        found.push({ path: ["listen", index, "mode"], message: "is for unix sockets only" });
      if (owner !== undefined && unix === undefined)
        found.push({ path: ["listen", index, "owner"], message: "is for unix sockets only" });
    }
    const key = listenKey(one);
    if (key === undefined) return;
    const before = seen.get(key);
    if (before === undefined) seen.set(key, index);
    else found.push({ path: ["listen", index], message: `is the same address as listen[${before}]` });
  });
};
