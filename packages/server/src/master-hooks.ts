/** Calls the hooks that run in the master. */
import type { GroupEvent } from "@portico/supervisor";
import { PorticoServerError } from "./error.ts";
import { HOOKS } from "./hooks.ts";
import type { HookName, HookServer, ServerHooks } from "./hooks.ts";

type Arguments<Name extends HookName> =
  NonNullable<ServerHooks[Name]> extends (server: HookServer, ...rest: infer Rest) => unknown ? Rest : never;

export class MasterHooks {
  readonly #server: HookServer;
  #hooks: ServerHooks;
  #count = 0;

  constructor(server: HookServer, hooks: ServerHooks = {}) {
    this.#server = server;
    this.#hooks = hooks;
  }

  /** A reload has read the configuration module again. */
  replace(hooks: ServerHooks): void {
    this.#hooks = hooks;
  }

  /** @throws PorticoServerError `hook`, where the table in `hooks.ts` says that its failure means something */
  async call<Name extends HookName>(name: Name, ...rest: Arguments<Name>): Promise<void> {
    const hook = this.#hooks[name] as ((server: HookServer, ...rest: unknown[]) => unknown) | undefined;
    try {
      await hook?.(this.#server, ...rest);
    } catch (error) {
      const said = `hook ${name} failed: ${error instanceof Error ? error.message : String(error)}`;
      if (HOOKS[name].failure !== undefined) throw new PorticoServerError("hook", said, { cause: error });
      this.#server.log.error({ err: error }, said);
    }
  }

  /** What the group tells of its workers. */
  take(event: GroupEvent): void {
    switch (event.type) {
      case "exited":
      case "failed":
      case "crashed": {
        const { slot, pid, generation } = event.child;
        const { how, reason } = event;
        return void this.call("childExit", { id: slot, pid, generation, how, reason });
      }
      case "scaled":
        if (event.count !== this.#count) void this.call("workersChanged", event.count, this.#count);
        this.#count = event.count;
    }
  }

  /** How many workers there are without anybody having changed it. */
  began(count: number): void {
    this.#count = count;
  }
}
