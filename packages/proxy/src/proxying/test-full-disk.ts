/** Run by a test under a limit on the size of files: stores a response that does not fit. Not part of the package. */
import { Buffer } from "node:buffer";
import { randomBytes } from "node:crypto";
import { ResponseBuffer } from "./response-buffer.ts";

// The limit comes as a signal first; an error to the writer is what a full disk gives.
process.on("SIGXFSZ", () => {});

const taken: Uint8Array[] = [];
let slowed = "";
const over = Promise.withResolvers<string>();
const buffer = new ResponseBuffer(
  { memory: 1_000, disk: 10_000_000, folder: process.argv[2]! },
  {
    deliver: (chunk) => {
      taken.push(chunk);
      return true;
    },
    consumed: () => {},
    delivered: () => over.resolve("delivered"),
    slowed: (error) => {
      slowed = (error as NodeJS.ErrnoException).code ?? error.message;
    },
    failed: (error) => over.resolve(error.message),
  },
);
const parts = Array.from({ length: 50 }, () => randomBytes(10_000));
for (const part of parts.slice(0, 40)) buffer.add(part);
setTimeout(() => {
  for (const part of parts.slice(40)) buffer.add(part);
  buffer.finish([]);
  buffer.drained();
}, 300);
const how = await over.promise;
process.stdout.write(JSON.stringify({ over: how, equal: Buffer.concat(taken).equals(Buffer.concat(parts)), slowed }));
