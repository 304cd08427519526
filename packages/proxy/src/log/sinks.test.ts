import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { LogSinks } from "./sinks.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-sinks-"));
afterAll(() => rmSync(folder, { recursive: true }));

const read = (name: string): string => (existsSync(join(folder, name)) ? readFileSync(join(folder, name), "utf8") : "");
const settings = (access: string, error: string) => ({
  access: join(folder, access),
  error: join(folder, error),
  level: "info" as const,
});

describe("log sinks", () => {
  it("lose no line that was written before they were open, and make the folder", async () => {
    const sinks = new LogSinks(settings("new/access", "error"));
    sinks.write("access", "a\n");
    sinks.write("error", "b\n");
    await sinks.flush();
    expect([read("new/access"), read("error")]).toEqual(["a\n", "b\n"]);
  });

  it("append, and go on in a new file after they were moved", async () => {
    const sinks = new LogSinks(settings("moved", "error"));
    sinks.write("access", "1\n");
    await sinks.flush();
    renameSync(join(folder, "moved"), join(folder, "moved.1"));
    sinks.write("access", "2\n");
    await sinks.flush();
    sinks.reopen();
    await expect.poll(() => existsSync(join(folder, "moved"))).toBe(true);
    sinks.write("access", "3\n");
    await sinks.flush();
    expect([read("moved.1"), read("moved")]).toEqual(["1\n2\n", "3\n"]);
  });

  it("follow a new configuration, off included", async () => {
    const sinks = new LogSinks(settings("first", "first"));
    sinks.write("access", "1\n");
    sinks.configure({ ...settings("second", "second"), access: "off" });
    sinks.write("access", "2\n");
    sinks.write("error", "3\n");
    await sinks.flush();
    await expect.poll(() => read("first")).toBe("1\n");
    expect(read("second")).toBe("3\n");
  });

  it("do not end the program when a file cannot be opened", async () => {
    const sinks = new LogSinks({ access: "/dev/null/not/there", error: "off", level: "info" });
    sinks.write("access", "1\n");
    await expect(
      Promise.race([sinks.flush().then(() => "done"), new Promise((wake) => setTimeout(wake, 3000, "hangs"))]),
    ).resolves.toBe("done");
  });
});
