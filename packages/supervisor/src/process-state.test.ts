import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { processSpace, processState } from "./process-state.ts";

test("running, stopped, a zombie, nobody", async () => {
  expect(processState(process.pid)).toBe("running");
  // A shell that becomes a sleep has not waited for its child: a zombie for as long as it sleeps.
  const parent = spawn("sh", ["-c", "sleep 0.2 & echo $!; exec sleep 60"], { stdio: ["ignore", "pipe", "inherit"] });
  try {
    const [text] = (await once(parent.stdout, "data")) as [Buffer];
    await expect.poll(() => processState(Number(text))).toBe("gone");
    expect(() => process.kill(Number(text), 0)).not.toThrow(); // and still there
    parent.kill("SIGSTOP");
    await expect.poll(() => processState(parent.pid!)).toBe("stopped");
  } finally {
    parent.kill("SIGKILL");
    await once(parent, "exit");
  }
  expect(processState(parent.pid!)).toBe("gone");
});

test("the space of process ids has a name of digits", () => expect(processSpace()).toMatch(/^\d+$/));
