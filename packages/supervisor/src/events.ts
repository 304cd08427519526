/** What a group tells its log. Every event has a `message` for people; the other fields are for machines. */
import type { EndKind } from "./child-end.ts";
import type { StackReport } from "./messages.ts";

export type EventLevel = "info" | "warn" | "error";

/** Which child an event is about. */
export interface ChildFacts {
  readonly id: number;
  readonly slot: number;
  readonly generation: number;
  readonly pid: number;
}

interface About {
  readonly child: ChildFacts;
}

/** `blocked`: the process lives, its event loop does not. `dead`: nothing in the process answers (stopped, swapping, in the kernel). `silent`: one of both; without a watchdog nobody knows. */
export type HangKind = "blocked" | "dead" | "silent";

type EventFields = {
  spawned: About;
  ready: About & { readonly bootMs: number };
  draining: About & { readonly reason: string };
  /** It left because it was told to. */
  exited: About & { readonly how: EndKind; readonly reason: string };
  /** It ended, or was ended, before it was ready. */
  failed: About & { readonly how: EndKind; readonly reason: string; readonly stack: string | undefined };
  /** It ended although nobody told it to. */
  crashed: About & { readonly how: EndKind; readonly reason: string; readonly stack: string | undefined };
  /** It lives, but has closed the channel to the master; it gets `boundMs` to leave by itself. */
  "cut-off": About & { readonly boundMs: number };
  restarting: { readonly slot: number; readonly delayMs: number; readonly failures: number };
  "crash-loop": { readonly slot: number; readonly failures: number; readonly reason: string };
  /** Half of the heartbeat timeout has passed without a beat. */
  unresponsive: About & { readonly silentMs: number };
  recovered: About & { readonly silentMs: number };
  hung: About & { readonly kind: HangKind; readonly silentMs: number } & StackReport;
  killed: About & { readonly reason: string };
  retiring: About & { readonly reason: string };
  "retire-failed": About & { readonly reason: string };
  reloading: { readonly generation: number };
  reloaded: { readonly generation: number; readonly tookMs: number };
  "reload-failed": { readonly generation: number; readonly reason: string };
  scaled: { readonly count: number };
  stopping: { readonly mode: string };
  stopped: object;
};

export type GroupEventType = keyof EventFields;

/** Level of each type, for a logger. */
export const EVENT_LEVELS: Readonly<Record<GroupEventType, EventLevel>> = {
  spawned: "info",
  ready: "info",
  draining: "info",
  exited: "info",
  failed: "error",
  crashed: "error",
  "cut-off": "error",
  restarting: "warn",
  "crash-loop": "error",
  unresponsive: "warn",
  recovered: "info",
  hung: "error",
  killed: "warn",
  retiring: "info",
  "retire-failed": "error",
  reloading: "info",
  reloaded: "info",
  "reload-failed": "error",
  scaled: "info",
  stopping: "info",
  stopped: "info",
};

/** A typed event; narrow by `type`. */
export type GroupEvent = {
  [Type in GroupEventType]: {
    readonly type: Type;
    readonly level: EventLevel;
    readonly group: string;
    readonly message: string;
  } & EventFields[Type];
}[GroupEventType];

export type GroupEventFields<Type extends GroupEventType> = EventFields[Type];

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`;
const who = ({ id, pid }: ChildFacts): string => `${id} (pid ${pid})`;

const HANGS: Readonly<Record<HangKind, string>> = {
  blocked: "its event loop is blocked",
  dead: "nothing in the process answers",
  silent: "its event loop does not answer",
};

function describeHang(event: Extract<GroupEvent, { type: "hung" }>): string {
  const found = HANGS[event.kind];
  const doing = event.doing === undefined ? "" : `, under way: ${event.doing}`;
  const noStack = event.kind === "blocked" ? `; no stack: ${event.reason ?? "unknown"}` : "";
  const where = event.stack === undefined ? noStack : `; it is at\n${event.stack}`;
  const stopped = event.kind === "dead" && event.reason !== undefined ? ` (${event.reason})` : "";
  return `${event.group} ${who(event.child)} hung for ${seconds(event.silentMs)}: ${found}${stopped}; it is killed and replaced${doing}${where}`;
}

type Describe = { [Type in GroupEventType]: (event: Extract<GroupEvent, { type: Type }>) => string };

const DESCRIPTIONS: Describe = {
  spawned: ({ group, child }) => `${group} ${who(child)} starts, generation ${child.generation}`,
  ready: ({ group, child, bootMs }) => `${group} ${who(child)} is ready after ${bootMs} ms`,
  draining: ({ group, child, reason }) => `${group} ${who(child)} drains: ${reason}`,
  exited: ({ group, child, reason }) => `${group} ${who(child)} has left: ${reason}`,
  failed: ({ group, child, reason }) => `${group} ${who(child)} did not come up: ${reason}`,
  crashed: ({ group, child, reason }) => `${group} ${who(child)} crashed: ${reason}`,
  "cut-off": ({ group, child, boundMs }) =>
    `${group} ${who(child)} has closed its channel to the master: it is replaced, and killed if it stays longer than ${seconds(boundMs)}`,
  restarting: ({ group, slot, delayMs, failures }) =>
    `${group} in slot ${slot} is started again ${delayMs === 0 ? "at once" : `in ${delayMs} ms`}${failures === 0 ? "" : `, failure ${failures} in a row`}`,
  "crash-loop": ({ group, slot, failures, reason }) =>
    `${group} in slot ${slot} is in a crash loop: ${failures} failures in a row, the last: ${reason}`,
  unresponsive: ({ group, child, silentMs }) => `${group} ${who(child)} has not answered for ${seconds(silentMs)}`,
  recovered: ({ group, child, silentMs }) => `${group} ${who(child)} answers again after ${seconds(silentMs)}`,
  hung: describeHang,
  killed: ({ group, child, reason }) => `${group} ${who(child)} is killed: ${reason}`,
  retiring: ({ group, child, reason }) => `${group} ${who(child)} retires (${reason}): a replacement comes first`,
  "retire-failed": ({ group, child, reason }) => `${group} ${who(child)} stays, no replacement came up: ${reason}`,
  reloading: ({ group, generation }) => `${group}: generation ${generation} starts`,
  reloaded: ({ group, generation, tookMs }) => `${group}: generation ${generation} serves, after ${seconds(tookMs)}`,
  "reload-failed": ({ group, generation, reason }) =>
    `${group}: generation ${generation} did not come up, the old one stays: ${reason}`,
  scaled: ({ group, count }) => `${group}: ${count} wanted and there`,
  stopping: ({ group, mode }) => `${group}: stopping (${mode})`,
  stopped: ({ group }) => `${group}: all have left`,
};

/** The line for people. */
function describeEvent(event: GroupEvent): string {
  return (DESCRIPTIONS[event.type] as (event: GroupEvent) => string)(event);
}

export type Emit = <Type extends GroupEventType>(type: Type, fields: GroupEventFields<Type>) => void;

/** Makes the function that tells a group's events to whoever listens. */
export function teller(group: string, tell: (event: GroupEvent, fields: object) => void): Emit {
  return (type, fields) => {
    const event = { type, level: EVENT_LEVELS[type], group, message: "", ...fields } as GroupEvent;
    const told: GroupEvent = { ...event, message: describeEvent(event) };
    const { message: _said, ...rest } = told;
    tell(told, rest);
  };
}
