import type { DatabaseSync } from "node:sqlite";
import { beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { Accounts, InputError, SESSION_SECONDS } from "./accounts.ts";
import { openDatabase } from "./database.ts";
import { dataFolder } from "./test-data.ts";

let database: DatabaseSync;
let accounts: Accounts;
beforeEach(() => {
  database = openDatabase(dataFolder());
  onTestFinished(() => database.close());
  accounts = new Accounts(database);
});

test("who registers can log in, with any case of the name", async () => {
  const ada = await accounts.register("Ada", "correct horse");
  expect(ada).toMatchObject({ name: "Ada", id: expect.any(Number) });
  expect(await accounts.login("ada", "correct horse")).toEqual({ ...ada });
});

test("a wrong password and an unknown name are answered alike", async () => {
  await accounts.register("Ada", "correct horse");
  const reason = new InputError("Name and password do not belong together.");
  await expect(accounts.login("Ada", "wrong horse")).rejects.toThrow(reason);
  await expect(accounts.login("Grace", "correct horse")).rejects.toThrow(reason);
});

test("a name is taken once, whatever its case", async () => {
  await accounts.register("Ada", "correct horse");
  await expect(accounts.register("ADA", "another one")).rejects.toThrow("This name is taken.");
});

test.each(["", "a", "-ada", "a b", "<b>", "x".repeat(31), "a\nb"])("the name %j does not do", async (name) => {
  await expect(accounts.register(name, "correct horse")).rejects.toThrow(/^A name has 2 to 30/);
});

test.each(["Zoë", "李雷", "r2-d2", "a.b_c"])("the name %j does", async (name) => {
  await expect(accounts.register(name, "correct horse")).resolves.toMatchObject({ name });
});

test.each(["short", "x".repeat(201)])("the password %j does not do", async (password) => {
  await expect(accounts.register("Ada", password)).rejects.toThrow(/^A password has 8 to 200/);
});

test("the file holds neither passwords nor tokens", async () => {
  const token = accounts.openSession(await accounts.register("Ada", "correct horse"));
  const rows = JSON.stringify([
    database.prepare("SELECT * FROM account").all(),
    database.prepare("SELECT * FROM session").all(),
  ]);
  expect(rows).toContain("Ada");
  expect(rows).not.toContain("correct horse");
  expect(rows).not.toContain(token);
});

test("a session lasts until it is closed", async () => {
  const ada = await accounts.register("Ada", "correct horse");
  const token = accounts.openSession(ada);
  expect(accounts.find(token)).toEqual({ ...ada });
  accounts.closeSession(token);
  expect(accounts.find(token)).toBeUndefined();
});

test("a session ends by itself, and is swept away with the next login", async () => {
  vi.useFakeTimers({ toFake: ["Date"] });
  onTestFinished(() => void vi.useRealTimers());
  const ada = await accounts.register("Ada", "correct horse");
  const token = accounts.openSession(ada);
  vi.setSystemTime(Date.now() + SESSION_SECONDS * 1000 + 1);
  expect(accounts.find(token)).toBeUndefined();
  accounts.openSession(ada);
  expect(database.prepare("SELECT count(*) AS count FROM session").get()).toEqual({ count: 1 });
});

test.each([undefined, "", "no such token", "' OR 1=1 --"])("the token %j belongs to nobody", (token) => {
  expect(accounts.find(token)).toBeUndefined();
});
