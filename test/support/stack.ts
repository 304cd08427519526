/** Both tiers under test: `portico serve` with folders of its own for everything temporary, and ways to ask it. */
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { isAbsolute, join } from "node:path";
import { Agent, request } from "undici";
import { Command, type CommandOptions, descendants } from "./command.ts";
import { compileCacheFolder } from "@portico/supervisor/compile-cache";
import type { Answer, AskOptions } from "./server.ts";

/** A folder that holds what a run may leave behind, its configuration and its application. Removed at the end. */
export class Playground implements Disposable {
  readonly folder: string = mkdtempSync(join(tmpdir(), "portico-stack-"));
  readonly #temporary = ["tmp", "run"].map((name) => join(this.folder, name));

  constructor() {
    for (const folder of this.#temporary) mkdirSync(folder);
  }

  /** Compiled code is kept where other runs find it too: it is a cache, and not what these tests ask about. */
  get env(): NodeJS.ProcessEnv {
    const [TMPDIR, XDG_RUNTIME_DIR] = this.#temporary;
    return { TMPDIR, XDG_RUNTIME_DIR, NODE_COMPILE_CACHE: compileCacheFolder() ?? "" };
  }

  write(name: string, text: string): string {
    const file = this.path(name);
    writeFileSync(file, text);
    return file;
  }

  path(name: string): string {
    return isAbsolute(name) ? name : join(this.folder, name);
  }

  /** Everything below the temporary folders, sockets and folders included. */
  leftovers(): string[] {
    return this.#temporary.flatMap((folder) => readdirSync(folder, { recursive: true }).map(String));
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export class StackUnderTest implements AsyncDisposable {
  readonly command: Command;
  readonly url: string;
  readonly #agents: Agent[] = [];

  private constructor(command: Command, url: string) {
    this.command = command;
    this.url = url;
  }

  /** Starts on a free port and waits for the ready line. */
  static async start(
    playground: Playground,
    app: string,
    args: readonly string[] = [],
    options: CommandOptions = {},
  ): Promise<StackUnderTest> {
    // Found last, so that a test's own configuration goes before it: reloads are not to take seconds each.
    playground.write("server.config.json", JSON.stringify({ probation: 0.1 }));
    const listen = args.includes("--listen") ? [] : ["--listen", "127.0.0.1:0"];
    const command = new Command("portico", ["serve", app, ...listen, "--threads", "1", ...args], {
      cwd: playground.folder,
      ...options,
      env: { ...playground.env, ...options.env },
    });
    try {
      const [, url] = await command.printed(/^portico: ready on (http:\/\/127\.0\.0\.1:\d+)/m);
      return new StackUnderTest(command, url!);
    } catch (error) {
      await command[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** One client with connections of its own. */
  client(): (path: string, options?: AskOptions) => Promise<Answer> {
    const agent = new Agent();
    this.#agents.push(agent);
    return async (path, options = {}) => {
      const { statusCode, headers, body } = await request(this.url + path, { dispatcher: agent, ...options });
      return { status: statusCode, headers, text: await body.text() };
    };
  }

  async ask(path: string, options: AskOptions = {}): Promise<Answer> {
    return await this.client()(path, { reset: true, ...options });
  }

  /** Process ids of everything it started. */
  processes(): number[] {
    return descendants(this.command.pid);
  }

  /** Workers of the application; they name themselves. */
  workers(): number[] {
    return workersOf(this.command.pid);
  }

  /** Processes of the front: one, but for a moment at most. */
  fronts(): number[] {
    return this.processes().filter((pid) => commandLine(pid).includes("proxy/src/process"));
  }

  /** Descriptors that the master holds. */
  descriptors(): number {
    return readdirSync(`/proc/${this.command.pid}/fd`).length;
  }

  /** Sends SIGHUP; resolves to what it says of the outcome. */
  async reload(): Promise<string> {
    const from = this.command.output.length;
    this.command.signal("SIGHUP");
    return (await this.command.printed(/^portico: reload(ed in| failed)[^]*?\n(?=portico: |\{|$)/m, from))[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.destroy()));
    await this.command[Symbol.asyncDispose]();
  }
}

/** Workers below a master of `portico`. */
export function workersOf(master: number): number[] {
  return descendants(master).filter((pid) => commandLine(pid).startsWith("portico: worker"));
}

function commandLine(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}
