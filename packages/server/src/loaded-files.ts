/** In the worker, for `--reload`: which files the application consists of. Packages are left out: they do not change under one's hands. */
import { registerHooks } from "node:module";
import { fileURLToPath } from "node:url";

/** Files that are loaded together are told together, milliseconds. */
const GATHER_MS = 50;
const PACKAGE = /[/\\]node_modules[/\\]/;

/** @param tell gets paths, each once */
export function watchLoading(tell: (files: readonly string[]) => void): void {
  const told = new Set<string>();
  let fresh: string[] = [];
  const flush = (): void => {
    tell(fresh);
    fresh = [];
  };
  registerHooks({
    load(url, context, next) {
      const file = url.startsWith("file:") ? fileURLToPath(url.split("?")[0]!) : undefined;
      if (file !== undefined && !told.has(file) && !PACKAGE.test(file)) {
        told.add(file);
        if (fresh.push(file) === 1) setTimeout(flush, GATHER_MS);
      }
      return next(url, context);
    },
  });
}
