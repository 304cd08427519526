/** Uploaded pictures, kept as files named by their content. What a file is, its first bytes say, never its name. */
import { createHash } from "node:crypto";
import { openAsBlob } from "node:fs";
import { mkdir, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { InputError } from "./accounts.ts";

export const IMAGE_LIMIT = 5 * 1024 * 1024; // bytes; a photograph from a telephone after its own compression

const kinds = [
  {
    extension: "png",
    type: "image/png",
    matches: (bytes: Buffer) => bytes.subarray(0, 8).equals(Buffer.from("\x89PNG\r\n\x1a\n", "latin1")),
  },
  {
    extension: "jpg",
    type: "image/jpeg",
    matches: (bytes: Buffer) => bytes.subarray(0, 3).equals(Buffer.from([0xff, 0xd8, 0xff])),
  },
  {
    extension: "gif",
    type: "image/gif",
    matches: (bytes: Buffer) => /^GIF8[79]a/.test(bytes.toString("latin1", 0, 6)),
  },
  {
    extension: "webp",
    type: "image/webp",
    matches: (bytes: Buffer) => bytes.toString("latin1", 0, 4) === "RIFF" && bytes.toString("latin1", 8, 12) === "WEBP",
  },
] as const;

export class Images {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = join(folder, "images");
  }

  /**
   * Keeps a picture and gives its name. The same picture twice is one file.
   * @throws {InputError} when it is too large or no picture
   */
  async keep(file: Blob): Promise<string> {
    if (file.size > IMAGE_LIMIT) throw new InputError(`A picture has at most ${IMAGE_LIMIT / 1024 / 1024} MiB.`);
    const bytes = Buffer.from(await file.arrayBuffer());
    const kind = kinds.find(({ matches }) => matches(bytes));
    if (kind === undefined) throw new InputError("A picture is a PNG, JPEG, GIF or WebP file.");
    const name = `${createHash("sha256").update(bytes).digest("hex").slice(0, 32)}.${kind.extension}`;
    await mkdir(this.#folder, { recursive: true });
    const temporary = join(this.#folder, `.${name}.${process.pid}.${performance.now()}`);
    await writeFile(temporary, bytes);
    await rename(temporary, join(this.#folder, name));
    return name;
  }

  /** The picture, read as it is sent, or undefined where there is none of that name. */
  async read(name: string): Promise<Blob | undefined> {
    const kind = kinds.find(({ extension }) => name.endsWith(`.${extension}`));
    if (kind === undefined || !/^[0-9a-f]{32}\.\w+$/.test(name)) return undefined;
    try {
      return await openAsBlob(join(this.#folder, name), { type: kind.type });
    } catch {
      return undefined;
    }
  }
}
