import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { processSpace } from "@portico/supervisor";
import { PorticoError } from "./error.ts";
import { makeRuntimeFolder } from "./runtime-folder.ts";

let parent: string;
beforeEach(() => void (parent = mkdtempSync(join(tmpdir(), "portico-runtime-test-"))));
afterEach(() => rmSync(parent, { recursive: true, force: true }));

test("nobody else may look into it, and it is gone when it is removed, with all in it", () => {
  const folder = makeRuntimeFolder(parent);
  expect(statSync(folder.path).mode & 0o777).toBe(0o700);
  writeFileSync(join(folder.path, "app.sock"), "");
  folder.remove();
  folder.remove();
  expect(readdirSync(parent)).toEqual([]);
});

test("what a dead process left is removed; the living and the foreign are left alone", async () => {
  const dead = spawn(process.execPath, ["-e", ""]);
  await once(dead, "exit");
  const space = processSpace();
  const stale = join(parent, `portico-${dead.pid}.${space}-AbCd12`);
  const others = [
    `portico-${process.pid}.${space}-AbCd12`,
    `portico-${dead.pid}.${space}1-AbCd12`, // of another container
    `portico-proxy-${dead.pid}-AbCd12`,
    "portico-notes",
    `portico-${dead.pid}.${space}-x`,
  ];
  for (const path of [stale, ...others.map((name) => join(parent, name))]) mkdirSync(path);
  writeFileSync(join(stale, "app.sock"), "");
  const folder = makeRuntimeFolder(parent);
  expect(existsSync(stale)).toBe(false);
  expect(
    readdirSync(parent)
      .filter((name) => join(parent, name) !== folder.path)
      .toSorted(),
  ).toEqual(others.toSorted());
});

test("where none can be made, it says where and why", () => {
  const nowhere = join(parent, "nowhere");
  expect(() => makeRuntimeFolder(nowhere)).toThrow(PorticoError);
  expect(() => makeRuntimeFolder(nowhere)).toThrow(/could be made in .*nowhere: ENOENT/);
});
