import { EventEmitter } from "node:events";
import type { Socket } from "node:net";
import type { ChildHandle } from "@portico/supervisor";
import { expect, test } from "vitest";
import { LinkDispatcher } from "./link-dispatch.ts";
import type { ToWorker } from "./messages.ts";

const MESSAGE: ToWorker = { kind: "link", secret: false, unixPath: "/x" };

class FakeChild {
  state = "ready";
  silent = 0;
  connected = true;
  readonly got: unknown[] = [];

  send(_message: unknown, socket: unknown): boolean {
    if (this.connected) this.got.push(socket);
    return this.connected;
  }
  silentMs(): number {
    return this.silent;
  }
}

class FakeSocket extends EventEmitter {
  destroyed = false;
  destroy(): void {
    this.destroyed = true;
    this.emit("close");
  }
}

function setUp(count: number) {
  const children = Array.from({ length: count }, () => new FakeChild());
  const dispatcher = new LinkDispatcher(() => children as unknown as ChildHandle[]);
  const accept = (): FakeSocket => {
    const socket = new FakeSocket();
    dispatcher.accept(socket as unknown as Socket, MESSAGE);
    return socket;
  };
  const handle = (index: number): ChildHandle => children[index] as unknown as ChildHandle;
  return { children, dispatcher, accept, handle, got: () => children.map((child) => child.got.length) };
}

test("the fewest links first, of equals the one that waited longest", () => {
  const { dispatcher, accept, handle, got } = setUp(3);
  for (let count = 0; count < 7; count++) accept();
  expect(got()).toEqual([3, 2, 2]);
  dispatcher.closed(handle(2));
  accept();
  expect(got()).toEqual([3, 2, 3]);
});

test("who drains, leaves or starts gets none; who is silent gets one only where nobody else is left", () => {
  const { children, dispatcher, accept, handle, got } = setUp(4);
  children[0]!.state = "draining";
  dispatcher.leaving(handle(1));
  children[2]!.silent = 60_000;
  for (let count = 0; count < 5; count++) accept();
  expect(got()).toEqual([0, 0, 0, 5]);
  children[3]!.state = "gone";
  accept();
  expect(got()).toEqual([0, 0, 1, 5]);
});

test("where nobody is ready the connection waits, and is passed on when somebody is; one that left is forgotten", () => {
  const { children, dispatcher, accept, got } = setUp(1);
  children[0]!.state = "starting";
  const [first, second] = [accept(), accept()];
  second.destroy();
  expect([got(), first.destroyed]).toEqual([[0], false]);
  children[0]!.state = "ready";
  dispatcher.offer();
  expect(children[0]!.got).toEqual([first]);
});

test("a dead channel is passed over", () => {
  const { children, accept, got } = setUp(2);
  children[0]!.connected = false;
  accept();
  expect(got()).toEqual([0, 1]);
});

test("close ends those that wait", () => {
  const { children, dispatcher, accept } = setUp(1);
  children[0]!.state = "starting";
  const waiting = accept();
  dispatcher.close();
  expect(waiting.destroyed).toBe(true);
});
