/** Addresses to listen on. */
import { type ConfigCheck, list, record } from "./raw.ts";

function listenKey(value: unknown): string | undefined {
  if (typeof value === "number") return value === 0 ? undefined : `:${value}`;
  if (typeof value === "string") return value.endsWith(":0") ? undefined : value;
  const { port, host, unix } = record(value);
  if (typeof unix === "string") return `unix:${unix}`;
  return typeof port === "number" && port !== 0 ? `${typeof host === "string" ? host : ""}:${port}` : undefined;
}

export const checkListen: ConfigCheck = (config, found) => {
  const seen = new Map<string, number>();
  list(config["listen"]).forEach((one, index) => {
    if (typeof one === "object" && one !== null) {
      const { port, unix, mode } = record(one);
      if ((port === undefined) === (unix === undefined))
        found.push({ path: ["listen", index], message: "must have either `port` or `unix`" });
      if (mode !== undefined && unix === undefined)
        found.push({ path: ["listen", index, "mode"], message: "is for unix sockets only" });
    }
    const key = listenKey(one);
    if (key === undefined) return;
    const before = seen.get(key);
    if (before === undefined) seen.set(key, index);
    else found.push({ path: ["listen", index], message: `is the same address as listen[${before}]` });
  });
};
