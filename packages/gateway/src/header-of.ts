import type { HeaderList } from "./exchange.ts";

/** Case-insensitive lookup of the first value; undefined where there is none. `lower` is the name in lower case. Hot path. */
export function headerOf(list: HeaderList, lower: string): string | undefined {
  for (let at = 0; at < list.length; at += 2) {
    const name = list[at] as string;
    if (name.length === lower.length && (name === lower || name.toLowerCase() === lower)) return list[at + 1];
  }
  return undefined;
}
