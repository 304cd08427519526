import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { compileCacheFolder } from "./compile-cache.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "portico-cache-test-"));
});
afterEach(() => rmSync(folder, { recursive: true, force: true }));

test("lies in the user's cache folder, and is the user's alone", () => {
  const place = compileCacheFolder({ XDG_CACHE_HOME: folder });
  expect(place).toBe(join(folder, "portico", "compile"));
  expect(statSync(place!).mode & 0o777).toBe(0o700);
  expect(compileCacheFolder({ XDG_CACHE_HOME: folder })).toBe(place);
});

test("is made below the home folder where nothing else is said", () => {
  expect(compileCacheFolder({ HOME: folder })).toBe(join(folder, ".cache", "portico", "compile"));
});

test("what the operator says holds", () => {
  expect(compileCacheFolder({ NODE_COMPILE_CACHE: "/elsewhere", XDG_CACHE_HOME: folder })).toBe("/elsewhere");
  expect(compileCacheFolder({ NODE_DISABLE_COMPILE_CACHE: "1", XDG_CACHE_HOME: folder })).toBeUndefined();
});

test.each<[string, (parent: string) => void]>([
  ["others may write to it", (parent) => chmodSync(join(parent, "compile"), 0o777)],
  ["others may write beside it", (parent) => chmodSync(parent, 0o777)],
  [
    "it is a link",
    (parent) => {
      rmSync(join(parent, "compile"), { recursive: true });
      mkdirSync(join(folder, "theirs"));
      symlinkSync(join(folder, "theirs"), join(parent, "compile"));
    },
  ],
])("is not used where %s", (_name, spoil) => {
  const parent = join(folder, "portico");
  mkdirSync(join(parent, "compile"), { recursive: true, mode: 0o700 });
  spoil(parent);
  expect(compileCacheFolder({ XDG_CACHE_HOME: folder })).not.toBe(join(parent, "compile"));
});

test.runIf(process.getuid?.() === 0)("is made for the user to whom privileges are dropped, and belongs to them", () => {
  const uid = 60_123;
  const place = compileCacheFolder({ XDG_CACHE_HOME: folder }, uid);
  try {
    expect(place).toBe(join(tmpdir(), `portico-${uid}`, "compile"));
    expect(statSync(place!)).toMatchObject({ uid });
  } finally {
    rmSync(join(tmpdir(), `portico-${uid}`), { recursive: true, force: true });
  }
});
