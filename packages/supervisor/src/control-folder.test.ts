import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { ControlFolder } from "./control-folder.ts";

/** Beyond every process id of Linux. */
const NOBODY = 4_194_305;

let base: string;
beforeEach(() => (base = mkdtempSync(join(tmpdir(), "portico-control-test-"))));
afterEach(() => rmSync(base, { recursive: true }));

const folderIn = (runtime: string): ControlFolder => new ControlFolder("portico-test", { XDG_RUNTIME_DIR: runtime });

test("is the user's alone, forgets the dead, and goes with the last socket", () => {
  const folder = folderIn(base);
  expect(folder.path).toBe(join(base, "portico-test"));
  expect(folder.live()).toEqual([]);
  mkdirSync(folder.path, { mode: 0o700 });
  for (const name of [`${NOBODY}.sock`, "other.sock", `${process.ppid}.sock`])
    writeFileSync(join(folder.path, name), "");
  const own = folder.own();
  writeFileSync(own, "");
  expect(statSync(folder.path).mode & 0o777).toBe(0o700);
  expect(existsSync(folder.socketOf(NOBODY))).toBe(false);
  expect(new Set(folder.live().map(({ pid }) => pid))).toEqual(new Set([process.pid, process.ppid]));
  rmSync(own);
  folder.leave(own);
  expect(existsSync(folder.path)).toBe(true);
  for (const name of ["other.sock", `${process.ppid}.sock`]) rmSync(join(folder.path, name));
  folder.leave(join(base, "elsewhere.sock"));
  expect(existsSync(folder.path)).toBe(true);
  folder.leave(own);
  expect(existsSync(folder.path)).toBe(false);
});

test("one that others may write to is not believed", () => {
  const folder = folderIn(base);
  folder.own();
  chmodSync(folder.path, 0o770);
  for (const act of [() => folder.own(), () => folder.live()])
    expect(act).toThrow(/portico-test is not a folder of this user's alone \(mode 0700\)/);
});

test("one that cannot be made says why", () => {
  writeFileSync(join(base, "file"), "");
  expect(() => folderIn(join(base, "file")).own()).toThrow(/no folder for the control socket: ENOTDIR/);
});
