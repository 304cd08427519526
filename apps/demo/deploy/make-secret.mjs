// Makes a secret file readable by its owner alone, unless there is one: `node make-secret.mjs FILE`.
import { randomBytes } from "node:crypto";
import { existsSync, writeFileSync } from "node:fs";

const [file] = process.argv.slice(2);
if (file === undefined) throw new Error("usage: node make-secret.mjs FILE");
if (!existsSync(file)) writeFileSync(file, `${randomBytes(32).toString("base64url")}\n`, { mode: 0o600, flag: "wx" });
