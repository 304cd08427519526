import { afterEach, expect, test } from "vitest";
import { readFile, writeFile } from "node:fs/promises";
import { cleanUp, temporaryFolder } from "./fixtures/group.ts";
import { findIdentity } from "./identity.ts";
import { writePidFile } from "./pid-file.ts";
import { SignalQueue } from "./signals.ts";

const queues: SignalQueue[] = [];

function makeQueue(options: ConstructorParameters<typeof SignalQueue>[0] = {}): SignalQueue {
  const queue = new SignalQueue(options);
  queues.push(queue);
  return queue;
}

afterEach(async () => {
  for (const queue of queues.splice(0)) queue.close();
  await cleanUp();
});

test("a real signal runs its action, outside of the handler", async () => {
  const queue = makeQueue();
  const came = new Promise<string>((resolve) => queue.on({ SIGHUP: resolve }));
  process.kill(process.pid, "SIGHUP");
  expect(await came).toBe("SIGHUP");
});

test("actions run one at a time; one that waits is enough, but steps count", async () => {
  const ran: string[] = [];
  let release: (() => void) | undefined;
  const done = Promise.withResolvers<void>();
  const queue = makeQueue().on({
    SIGHUP: () => {
      ran.push("reload");
      return ran.length > 1 ? undefined : new Promise<void>((resolve) => (release = resolve));
    },
    SIGTTIN: () => void ran.push("more"),
    SIGUSR2: () => done.resolve(),
  });
  queue.enqueue("SIGHUP");
  await new Promise(setImmediate);
  expect(ran).toEqual(["reload"]);
  for (const signal of ["SIGHUP", "SIGTTIN", "SIGHUP", "SIGTTIN", "SIGUSR2"] as const) queue.enqueue(signal);
  await new Promise(setImmediate);
  expect(ran).toEqual(["reload"]);
  release?.();
  await done.promise;
  expect(ran).toEqual(["reload", "reload", "more", "more"]);
});

test("a stop does not wait for a reload, drops what waits, and escalates when it comes again", async () => {
  const ran: string[] = [];
  const never = new Promise<void>(() => {});
  const third = Promise.withResolvers<void>();
  const queue = makeQueue({
    escalate: (signal, times) => {
      ran.push(`${signal} ${times}`);
      if (times === 3) third.resolve();
    },
  }).on({
    SIGHUP: () => (ran.push("reload"), never),
    SIGTERM: () => (ran.push("stop"), never),
    SIGINT: () => void ran.push("not reached: it is the second stop"),
  });
  queue.enqueue("SIGHUP");
  await new Promise(setImmediate);
  queue.enqueue("SIGHUP");
  queue.enqueue("SIGTERM");
  await new Promise(setImmediate);
  queue.enqueue("SIGINT");
  queue.enqueue("SIGTERM");
  await third.promise;
  expect(ran).toEqual(["reload", "stop", "SIGINT 2", "SIGTERM 3"]);
});

test("an action that throws is reported and does not stop the queue", async () => {
  const errors: unknown[] = [];
  const next = Promise.withResolvers<void>();
  const queue = makeQueue({ onError: (error, signal) => errors.push(signal, error) }).on({
    SIGHUP: () => Promise.reject(new TypeError("broken")),
    SIGUSR2: () => next.resolve(),
  });
  queue.enqueue("SIGHUP");
  queue.enqueue("SIGUSR2");
  await next.promise;
  expect(errors).toEqual(["SIGHUP", new TypeError("broken")]);
});

test("a pid file names this process, yields to a running one only, and is removed by its owner only", async () => {
  const path = `${await temporaryFolder()}/portico.pid`;
  await writeFile(path, "999999999\n"); // nobody: above the kernel's highest pid
  const file = await writePidFile(path);
  expect(await readFile(path, "utf8")).toBe(`${process.pid}\n`);
  await file.remove();
  await writeFile(path, `${process.ppid}\n`);
  await expect(writePidFile(path)).rejects.toMatchObject({ code: "pid_file_in_use" });
  await file.remove();
  expect(await readFile(path, "utf8")).toBe(`${process.ppid}\n`);
});

test("users and groups are found by name and number", async () => {
  expect(await findIdentity("root")).toEqual({ uid: 0, gid: 0, user: "root" });
  expect(await findIdentity("0", "0")).toEqual({ uid: 0, gid: 0, user: "root" });
  expect(await findIdentity("54321", "0")).toEqual({ uid: 54_321, gid: 0, user: undefined });
  await expect(findIdentity("no-such-user-here")).rejects.toMatchObject({ code: "identity_unknown" });
  await expect(findIdentity("root", "no-such-group")).rejects.toMatchObject({ code: "identity_unknown" });
});
