/** What an exported value is, and so how it is called. What is written for `node:http` the gateway recognises. */
import type { Application } from "@portico/gateway";
import type { ExchangeHandler } from "@portico/gateway/exchange";
import { type CapturedServer, detectNodeApplication, fromNode } from "@portico/gateway/node";
import type { NodeApplication, NodeListener } from "@portico/gateway/node";

/** How the setting `interface` wants a plain function called. */
export type FunctionInterface = "auto" | "tsgi" | "node";

/** An application that can be put on a host. `kind` is for people: `express`, `fetch`, `tsgi`. */
export type Recognised =
  | { readonly kind: string; readonly via: "tsgi"; readonly application: Application }
  | ({ readonly via: "node" } & NodeApplication);

/** Recognises an application; undefined where `value` is none. Starts nothing. */
export function recognise(value: unknown, wanted: FunctionInterface): Recognised | undefined {
  if ((typeof value !== "object" || value === null) && typeof value !== "function") return undefined;
  const node = detectNodeApplication(value);
  if (node !== undefined) return { via: "node", ...node };
  if (typeof (value as { fetch?: unknown }).fetch === "function")
    return { kind: "fetch", via: "tsgi", application: value as Application };
  return typeof value === "function" ? plainFunction(value as NodeListener, wanted) : undefined;
}

/** A program that called `listen()`. */
export function recogniseCaptured(captured: CapturedServer): Recognised {
  const listener: unknown = captured.server.listeners("request")[0];
  return {
    kind: detectNodeApplication(listener)?.kind ?? "http.Server",
    via: "node",
    open: (): Promise<ExchangeHandler> => Promise.resolve(captured.handler),
    close: () => captured.close(),
  };
}

/** Second parameter `res` or `response`: what nearly every Node handler is written with. */
const NODE_PARAMETERS = /^\s*(?:async\s+)?(?:function\b[^(]*|[\w$]*)?\(?\s*[\w$]+\s*,\s*(?:res|response)\b/;

/** A third parameter is `next`: only Node handlers have it. */
function plainFunction(value: NodeListener, wanted: FunctionInterface): Recognised {
  const node =
    wanted === "auto"
      ? value.length === 3 || NODE_PARAMETERS.test(Function.prototype.toString.call(value))
      : wanted === "node";
  const marked = node ? detectNodeApplication(fromNode(value)) : undefined;
  return marked === undefined
    ? { kind: "tsgi", via: "tsgi", application: value as unknown as Application }
    : { via: "node", ...marked };
}
