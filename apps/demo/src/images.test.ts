import { readdirSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { InputError } from "./accounts.ts";
import { IMAGE_LIMIT, Images } from "./images.ts";
import { dataFolder, PIXEL } from "./test-data.ts";

test("a picture is kept under a name made of its content, once", async () => {
  const folder = dataFolder();
  const images = new Images(folder);
  const name = await images.keep(new Blob([PIXEL], { type: "text/html" }));
  expect(name).toMatch(/^[0-9a-f]{32}\.png$/);
  expect(await images.keep(new Blob([PIXEL]))).toBe(name);
  expect(readdirSync(join(folder, "images"))).toEqual([name]);
  const image = await images.read(name);
  expect(image).toMatchObject({ type: "image/png", size: PIXEL.length });
  expect(Buffer.from(await image!.arrayBuffer())).toEqual(PIXEL);
});

test.each([
  ["image/jpeg", "jpg", Buffer.from([0xff, 0xd8, 0xff, 0xe0])],
  ["image/gif", "gif", Buffer.from("GIF89a...")],
  ["image/webp", "webp", Buffer.from("RIFF\x04\0\0\0WEBPVP8 ", "latin1")],
])("its first bytes say that it is %s", async (type, extension, bytes) => {
  const images = new Images(dataFolder());
  const name = await images.keep(new Blob([bytes]));
  expect(name.endsWith(`.${extension}`)).toBe(true);
  expect((await images.read(name))?.type).toBe(type);
});

test.each([
  ["a page", "<!doctype html><script>alert(1)</script>"],
  ["a drawing with scripts", "<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"],
  ["a RIFF that is music", "RIFF\x04\0\0\0WAVE"],
  ["nothing", ""],
])("%s is refused, whatever it is called", async (_what, content) => {
  const folder = dataFolder();
  const file = new File([content], "holiday.png", { type: "image/png" });
  await expect(new Images(folder).keep(file)).rejects.toThrow(
    new InputError("A picture is a PNG, JPEG, GIF or WebP file."),
  );
  expect(readdirSync(folder)).toEqual([]);
});

test("more than the limit is refused", async () => {
  const large = Buffer.concat([PIXEL, Buffer.alloc(IMAGE_LIMIT)]);
  await expect(new Images(dataFolder()).keep(new Blob([large]))).rejects.toThrow("A picture has at most 5 MiB.");
});

test.each(["../board.sqlite", "..%2fboard.sqlite", `${"0".repeat(32)}.png`, "a.png", "", `${"0".repeat(32)}.svg`])(
  "%j is no picture",
  async (name) => {
    expect(await new Images(dataFolder()).read(name)).toBeUndefined();
  },
);
