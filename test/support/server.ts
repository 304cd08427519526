/** A portico-server under test: the command, where it listens, and ways to ask it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, request } from "undici";
import { Command, type CommandOptions } from "./command.ts";

/** Folder of the applications that the suites run. */
export const apps: string = join(import.meta.dirname, "../fixtures/apps");

export class ServerUnderTest implements AsyncDisposable {
  readonly command: Command;
  readonly folder: string;
  readonly #agents: Agent[] = [];
  /** `http://127.0.0.1:…`, once ready. */
  url = "";
  /** The ready line. */
  ready = "";

  private constructor(command: Command, folder: string) {
    this.command = command;
    this.folder = folder;
  }

  /** Starts on a free TCP port and on a unix socket, `linked` on a second one for the link, and waits until it is ready. */
  static async start(
    app: string,
    args: readonly string[] = [],
    { linked, ...options }: CommandOptions & { readonly linked?: boolean } = {},
  ): Promise<ServerUnderTest> {
    const folder = mkdtempSync(join(tmpdir(), "portico-server-"));
    const addresses = ["-b", "127.0.0.1:0", "-b", `unix:${join(folder, "s.sock")}`];
    if (linked === true) addresses.push("-b", `link+unix:${join(folder, "s.sock.link")}`);
    const command = new Command("server", [app, ...addresses, ...args], { cwd: apps, ...options });
    const server = new ServerUnderTest(command, folder);
    try {
      const [line, url] = await command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)[^"\n]*/);
      server.url = url!;
      server.ready = line;
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  get socket(): string {
    return join(this.folder, "s.sock");
  }

  /** One client with its own connections; over the unix socket where that is asked for. */
  client(over: "tcp" | "unix" = "tcp"): (path: string, options?: AskOptions) => Promise<Answer> {
    const agent = new Agent(over === "unix" ? { connect: { socketPath: this.socket } } : {});
    this.#agents.push(agent);
    return async (path, options = {}) => {
      const { statusCode, headers, body } = await request(this.url + path, { dispatcher: agent, ...options });
      return { status: statusCode, headers, text: await body.text() };
    };
  }

  /** Asks once, on a connection of its own. */
  async ask(path: string, options: AskOptions = {}): Promise<Answer> {
    return await this.client()(path, { reset: true, ...options });
  }

  /** Process ids and facts of the worker that answered, from the TSGI application. */
  async worker(): Promise<{ id: number; pid: number; generation: number; count: number }> {
    return JSON.parse((await this.ask("/worker")).text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.destroy()));
    await this.command[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

export type AskOptions = NonNullable<Parameters<typeof request>[1]>;

export interface Answer {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly text: string;
}
