import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { readFile } from "node:fs/promises";
import net from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { afterEach, expect, test } from "vitest";
import { bound, cleanUp, exists, later, temporaryFolder } from "./fixtures/group.ts";
import type { FixtureInit } from "./fixtures/child.ts";
import type { ListenAddress } from "./index.ts";

const MASTER = fileURLToPath(new URL("./fixtures/master.ts", import.meta.url));

interface Running {
  readonly process: ChildProcess;
  readonly pids: number[];
  readonly address: ListenAddress;
  /** All who hold the master's stdout, master and children, are gone. */
  readonly allGone: Promise<unknown>;
}

async function master(init: FixtureInit, gracefulMs: number, address = "127.0.0.1:0"): Promise<Running> {
  const args = ["--conditions=@portico/source", MASTER, JSON.stringify(init), String(gracefulMs), address];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"], detached: true });
  const allGone = once(child.stdout, "close");
  const line = await new Promise<string>((resolve) => createInterface({ input: child.stdout }).once("line", resolve));
  const { pids, address: where } = JSON.parse(line) as { pids: number[]; address: ListenAddress };
  later(async () => {
    for (const pid of [child.pid ?? 0, ...pids]) if (pid > 0 && exists(pid)) process.kill(pid, "SIGKILL");
    await allGone;
  });
  return { process: child, pids, address: where, allGone };
}

afterEach(cleanUp);

test("kill -9 of the master: children finish what is under way, then leave, and the address is free", async () => {
  const folder = await temporaryFolder();
  const running = await master({ patient: true }, 20_000, `unix:${folder}/app.sock`);
  const socket = net.connect(`${folder}/app.sock`);
  await once(socket, "connect");
  running.process.kill("SIGKILL");
  await once(running.process, "exit");
  socket.write("who are you?");
  const [answer] = (await once(socket, "data")) as [Buffer];
  expect(running.pids).toContain(Number(answer.toString().split(" ")[2]));
  await running.allGone;
  await expect.poll(() => running.pids.filter(exists)).toEqual([]);
  await bound(`unix:${folder}/app.sock`); // the path that was left is stale, and taken over
});

test("kill -9 of the master: a child that does not drain leaves within the bound", async () => {
  const running = await master({ ignoreDrain: true }, 200);
  running.process.kill("SIGKILL");
  await running.allGone;
  await expect.poll(() => running.pids.filter(exists)).toEqual([]);
});

test("kill -9 of the master while a child's event loop is blocked: the watchdog ends it", async () => {
  const running = await master({}, 100);
  const [blocked = 0] = running.pids;
  running.process.kill("SIGUSR2");
  const cpu = async (): Promise<number> => Number((await readFile(`/proc/${blocked}/stat`, "utf8")).split(" ")[13]);
  const start = await cpu();
  await expect.poll(cpu, { timeout: 10_000 }).toBeGreaterThan(start + 10); // ticks of 10 ms: it spins
  running.process.kill("SIGKILL");
  await running.allGone;
  await expect.poll(() => running.pids.filter(exists)).toEqual([]);
});

test("Ctrl-C at a terminal, a signal to the whole group of the master, leaves the decision to the master", async () => {
  const running = await master({}, 2_000);
  process.kill(-(running.process.pid ?? 0), "SIGINT");
  const [code] = (await once(running.process, "exit")) as [number];
  expect(code).toBe(0); // in order: both children drained and were waited for
  await running.allGone;
  await expect.poll(() => running.pids.filter(exists)).toEqual([]);
});
