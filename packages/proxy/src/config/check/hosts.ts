/** Names of sites: each belongs to one. */
import { type ConfigCheck, list, record, text } from "./raw.ts";

export const checkHosts: ConfigCheck = (config, found) => {
  const owner = new Map<string, number>();
  list(config["sites"])
    .map(record)
    .forEach((site, index) => {
      list(site["hosts"]).forEach((host, position) => {
        const name = text(host)?.toLowerCase();
        if (name === undefined) return;
        const before = owner.get(name);
        if (before === undefined) owner.set(name, index);
        else
          found.push({
            path: ["sites", index, "hosts", position],
            message: `"${name}" already belongs to sites[${before}]`,
          });
      });
    });
};
