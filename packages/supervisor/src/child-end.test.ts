/** Ways a child ends, told apart. */
import { readFile, stat } from "node:fs/promises";
import { spawnSync } from "node:child_process";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { bound, ask, cleanUp, temporaryFolder, TestGroup } from "./fixtures/group.ts";
import type { ProcessGroupOptions } from "./index.ts";

async function started(options: Partial<ProcessGroupOptions> = {}): Promise<TestGroup> {
  const group = new TestGroup({}, options);
  await group.start();
  return group;
}

afterEach(cleanUp);

test.each([
  ["exit 0", { how: "exited", reason: "it ended by itself, exit code 0" }],
  ["exit 7", { how: "exited", reason: "it ended by itself, exit code 7" }],
  ["throw too far", { how: "exception", reason: expect.stringContaining("RangeError: too far") }],
])("%s: told as what it is, and replaced", async (command, expected) => {
  const group = await started();
  const crashed = group.event("crashed");
  const ready = group.event("ready");
  group.children[0]?.send(command);
  expect(await crashed).toMatchObject(expected);
  expect((await ready).child).toMatchObject({ id: 2, slot: 1 });
});

test("killed by somebody else", async () => {
  const group = await started();
  const crashed = group.event("crashed");
  process.kill(group.children[0]!.pid, "SIGKILL");
  expect(await crashed).toMatchObject({
    how: "signal",
    reason: expect.stringMatching(/killed by SIGKILL, by a person or/),
  });
});

test("killed by the master when asked: another comes at once, and it is no failure", async () => {
  const group = await started();
  const from = group.events.items.length;
  const ready = group.event("ready");
  await group.kill(group.children[0]!, "for a test");
  await ready;
  expect(group.types().slice(from)).toEqual(["killed", "exited", "restarting", "spawned", "ready"]);
  expect(group.events.items.find(({ type }) => type === "restarting")).toMatchObject({ failures: 0, delayMs: 0 });
});

test("out of memory: known by the report that the child leaves, which holds no secret", async () => {
  const reports = join(await temporaryFolder(), "reports");
  const group = await started({
    reports,
    execArgv: ["--conditions=@portico/source", "--max-old-space-size=64"],
    env: { ...process.env, SECRET: "hunter2" },
  });
  const crashed = group.event("crashed");
  const { pid } = group.children[0]!;
  group.children[0]?.send("fill");
  expect(await crashed).toMatchObject({
    how: "out-of-memory",
    reason: expect.stringMatching(/^out of memory: its JavaScript heap reached the limit/),
  });
  const text = await readFile(join(reports, `portico-fatal-${pid}.json`), "utf8");
  expect(JSON.parse(text)).toMatchObject({ header: { processId: pid } });
  expect(text).not.toContain("hunter2");
  expect((await stat(reports)).mode & 0o777).toBe(0o700);
});

test("a hang leaves a diagnostic report; the stack of a healthy child does not", async () => {
  const reports = join(await temporaryFolder(), "reports");
  const group = await started({ reports, watchdog: true, heartbeat: { interval: 50, timeout: 1_500 } });
  await expect.poll(() => group.children[0]?.stack(), { timeout: 10_000 }).toMatchObject({ report: undefined });
  const hung = group.event("hung");
  const crashed = group.event("crashed");
  group.children[0]?.send("block");
  const { report, stack } = await hung;
  expect(stack).toContain("at spin");
  expect(JSON.parse(await readFile(report!, "utf8"))).toMatchObject({ header: { trigger: expect.any(String) } });
  expect(await crashed).toMatchObject({ how: "killed", reason: expect.stringContaining("event loop was blocked") });
});

test("a folder for reports that others could write to is not used", async () => {
  const folder = await temporaryFolder();
  const { chmod, readdir } = await import("node:fs/promises");
  await chmod(folder, 0o777);
  const group = await started({
    reports: folder,
    execArgv: ["--conditions=@portico/source", "--max-old-space-size=64"],
  });
  const crashed = group.event("crashed");
  group.children[0]?.send("fill");
  expect(await crashed).toMatchObject({ how: "signal" });
  expect(await readdir(folder)).toEqual([]);
  await group.lines.find((line): line is string => line.includes("no diagnostic reports"));
});

test("folders for reports that killed masters have left empty are taken away; one with a report stays", async () => {
  const folder = await temporaryFolder();
  const { mkdir, readdir, writeFile } = await import("node:fs/promises");
  const dead = spawnSync("true").pid;
  for (const name of [`kept-${process.pid}`, `r-${process.pid}`, `r-${dead}`, "r-0000000", "r-x"])
    await mkdir(join(folder, name));
  await writeFile(join(folder, "r-0000000", "report.json"), "{}");
  const group = await started({ reports: join(folder, `r-${process.pid}1`) });
  expect(await readdir(folder)).not.toContain(`r-${dead}`);
  await group.stop("graceful");
  expect((await readdir(folder)).toSorted()).toEqual(
    [`kept-${process.pid}`, `r-${process.pid}`, "r-0000000", "r-x"].toSorted(),
  );
});

test("one that closes its channel is replaced at once, finishes what is under way, and leaves", async () => {
  const listener = await bound("127.0.0.1:0");
  const group = await started({ listeners: [listener] });
  const cut = group.event("cut-off");
  const ready = group.event("ready");
  const crashed = group.event("crashed");
  const { pid } = group.children[0]!;
  group.children[0]?.send("disconnect");
  await crashed;
  await ready;
  expect((await ask(listener)).pid).not.toBe(pid);
  // It leaves by itself within a moment, so the master may see no more than its exit.
  expect(group.types()).toContain("crashed");
  void cut;
});

test("one that closes its channel and stays is told as cut off, replaced, and killed in the end", async () => {
  const group = new TestGroup({ ignoreDrain: true }, { gracefulTimeout: 1_200 });
  await group.start();
  const cut = group.event("cut-off");
  const ready = group.event("ready");
  const crashed = group.event("crashed");
  group.children[0]?.send("disconnect");
  expect(await cut).toMatchObject({ child: { id: 1 }, boundMs: 1_200 });
  expect((await ready).child).toMatchObject({ id: 2, slot: 1 });
  await crashed;
  expect(group.children.map(({ id }) => id)).toEqual([2]);
});

test("a stopped process is told as stopped", async () => {
  const group = await started({ watchdog: true, heartbeat: { interval: 50, timeout: 1_000 } });
  const hung = group.event("hung");
  process.kill(group.children[0]!.pid, "SIGSTOP");
  expect(await hung).toMatchObject({ kind: "dead", reason: "the process is stopped (SIGSTOP)" });
});
