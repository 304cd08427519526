/** What all packages are built with. */
import type { Options } from "tsup";

type Plugin = NonNullable<Options["esbuildPlugins"]>[number];

/**
 * Takes Node's own modules by `process.getBuiltinModule`. An `import` of one reads each of its exports, and some are
 * large parts that Node loads when they are first read: its fetch client for `node:http`, WebCrypto for `node:crypto`.
 * It is 10 to 30 ms of every process's start.
 */
const builtinsWithoutFacades: Plugin = {
  name: "builtins-without-facades",
  setup(build) {
    build.onResolve({ filter: /^node:/ }, ({ path }) => ({ path, namespace: "builtin", sideEffects: false }));
    build.onLoad({ filter: /.*/, namespace: "builtin" }, ({ path }) => ({
      contents: `module.exports = process.getBuiltinModule(${JSON.stringify(path)})`,
    }));
  },
};

/** Types come from `tsc`: tsup's own `dts` needs a compiler API that TypeScript 7 does not have yet. */
export const base: Options = {
  format: ["esm"],
  target: "node24",
  platform: "node",
  sourcemap: true,
  dts: false,
  clean: true,
};

/** For packages that run on Node. */
export const onNode: Options = { ...base, removeNodeProtocol: false, esbuildPlugins: [builtinsWithoutFacades] };
