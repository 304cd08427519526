import { buildAssets } from "../src/assets.ts";

console.log(buildAssets());
