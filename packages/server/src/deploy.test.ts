/** The units of `docs/deploy/` start the server with words that it understands. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { parseCommandLine } from "./command.ts";
import { ServerSettings } from "./settings.ts";
import { SIGNALS } from "./signals.ts";

const unit = (name: string): string => readFileSync(new URL(`../../../docs/deploy/${name}`, import.meta.url), "utf8");

test("the service", () => {
  const text = unit("portico-server.service");
  const [, words] = /^ExecStart=\S*\/portico-server (.*)$/m.exec(text)!;
  const { flags, action } = parseCommandLine(words!.split(" "), "1.0.0");
  expect(action).toBe("serve");
  expect(flags).toEqual({ app: "app.js", workers: "auto", logFormat: "json" });
  const [, reload] = /^ExecReload=\/bin\/kill -(\w+) \$MAINPID$/m.exec(text)!;
  expect(Object.keys(SIGNALS)).toContain(`SIG${reload}`);
  expect(text).toMatch(/^Type=notify$/m);
  expect(text).toMatch(/^NotifyAccess=all$/m);
  const stop = Number(/^TimeoutStopSec=(\d+)$/m.exec(text)?.[1]);
  expect(stop).toBeGreaterThan(ServerSettings.parse({}).gracefulTimeout);
});

test("the socket", () => {
  const text = unit("portico-server.socket");
  expect(text).toMatch(/^ListenStream=\/run\//m);
  expect(text).toMatch(/^SocketMode=0660$/m);
});
