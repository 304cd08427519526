/** A portico-proxy under test: the command, its configuration in a folder of its own, and where it listens. */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { Command, type CommandOptions } from "./command.ts";

export interface ProxyOptions extends CommandOptions {
  /** Files to be made in the folder first; names are relative to it. */
  readonly files?: Readonly<Record<string, string | Uint8Array>>;
}

/** Loose on purpose: what is wrong in it is for the proxy to say. */
export type ConfigObject = Record<string, unknown>;

export class ProxyUnderTest implements AsyncDisposable {
  readonly command: Command;
  readonly folder: string;
  /** `http://127.0.0.1:…`. */
  readonly url: string;

  private constructor(command: Command, folder: string, url: string) {
    this.command = command;
    this.folder = folder;
    this.url = url;
  }

  /** Starts on a free port and on a unix socket, two threads unless the configuration says otherwise, and waits until it is ready. */
  static async start(config: ConfigObject, options: ProxyOptions = {}): Promise<ProxyUnderTest> {
    const folder = mkdtempSync(join(tmpdir(), "portico-front-"));
    for (const [name, content] of Object.entries(options.files ?? {})) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), content);
    }
    const file = join(folder, "portico.config.json");
    writeFileSync(file, JSON.stringify(withDefaults(config)));
    const command = new Command("proxy", ["-c", file], options);
    try {
      const [, url] = await command.printed(/ready on (http:\/\/127\.0\.0\.1:\d+)/);
      return new ProxyUnderTest(command, folder, url!);
    } catch (error) {
      await command[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  get socket(): string {
    return join(this.folder, "p.sock");
  }

  path(name: string): string {
    return join(this.folder, name);
  }

  /** Writes another configuration; the proxy hears of it by SIGHUP. */
  configure(config: ConfigObject): void {
    writeFileSync(this.path("portico.config.json"), JSON.stringify(withDefaults(config)));
  }

  /** Writes it, sends SIGHUP, and waits for the word that it is in force, or for the reason why not. */
  async reload(config: ConfigObject): Promise<string> {
    const from = this.command.output.length;
    this.configure(config);
    this.command.signal("SIGHUP");
    return (await this.command.printed(/configuration reloaded|reload refused[^]*?\n/, from))[0];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.command[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

function withDefaults(config: ConfigObject): ConfigObject {
  return { listen: ["127.0.0.1:0", "unix:p.sock"], threads: 2, ...config };
}

/** A configuration with one site for every host. */
export function site(...routes: ConfigObject[]): ConfigObject {
  return { sites: [{ hosts: ["*"], routes }] };
}
