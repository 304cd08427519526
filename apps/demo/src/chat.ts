/** The chat: WebSockets on every worker, messages shared through the events of the board. */
import type { IncomingMessage } from "node:http";
import type { DatabaseSync } from "node:sqlite";
import type { Context as TsgiContext, UpgradeReply } from "@portico/gateway";
import { WebSocket, WebSocketServer } from "ws";
import type { Account } from "./accounts.ts";
import type { BoardEvent, Events } from "./events.ts";

const MESSAGE_LIMIT = 1_000; // characters
const FRAME_LIMIT = 16 * 1024; // bytes; a message of four-byte characters in JSON, with room
const HISTORY = 50; // messages a newcomer sees
const PING_MS = 30_000; // finds peers that vanished; below the idle limits on the way
const GOING_AWAY = 1001; // RFC 6455, section 7.4.1: the server goes, a client may open another connection at once

export class Chat {
  readonly #database: DatabaseSync;
  readonly #events: Events;
  readonly #server = new WebSocketServer({ noServer: true, maxPayload: FRAME_LIMIT });
  readonly #alive = new WeakSet<WebSocket>();
  readonly #pings: NodeJS.Timeout;
  readonly #unsubscribe: () => void;

  constructor(database: DatabaseSync, events: Events) {
    this.#database = database;
    this.#events = events;
    this.#unsubscribe = events.subscribe((event) => this.#broadcast(event));
    this.#pings = setInterval(() => this.#ping(), PING_MS);
    this.#pings.unref();
  }

  /** Accepts the WebSocket that a request asks for. Guests may read; who is logged in may speak. */
  join(ctx: TsgiContext, account: Account | undefined): UpgradeReply {
    const leave = (): void => this.#closeAll();
    ctx.signal.addEventListener("abort", leave);
    return ctx.upgrade(
      (tunnel, request) =>
        this.#server.handleUpgrade(request as unknown as IncomingMessage, tunnel, Buffer.alloc(0), (socket) => {
          socket.on("close", () => ctx.signal.removeEventListener("abort", leave));
          this.#welcome(socket, account);
        }),
      { handshake: "application" },
    );
  }

  close(): void {
    clearInterval(this.#pings);
    this.#unsubscribe();
    this.#closeAll();
  }

  #welcome(socket: WebSocket, account: Account | undefined): void {
    this.#alive.add(socket);
    socket.on("pong", () => this.#alive.add(socket));
    socket.on("error", () => socket.terminate());
    socket.on("message", (data: Buffer) => this.#say(socket, account, data.toString()));
    const rows = this.#database
      .prepare("SELECT id, account_name AS author, text FROM message ORDER BY id DESC LIMIT ?")
      .all(HISTORY);
    for (const row of rows.toReversed()) socket.send(JSON.stringify(row));
  }

  #say(socket: WebSocket, account: Account | undefined, data: string): void {
    if (account === undefined) return refuse(socket, "Log in to say something.");
    const text = readText(data);
    if (text === undefined) return refuse(socket, `A message is {"text": …} with 1 to ${MESSAGE_LIMIT} characters.`);
    const { lastInsertRowid } = this.#database
      .prepare("INSERT INTO message (account_name, text, created_at) VALUES (?, ?, ?)")
      .run(account.name, text, Date.now());
    this.#events.publish("message", { id: Number(lastInsertRowid), author: account.name, text });
  }

  #broadcast({ topic, payload }: BoardEvent): void {
    if (topic !== "message") return;
    for (const socket of this.#server.clients) if (socket.readyState === WebSocket.OPEN) socket.send(payload);
  }

  #ping(): void {
    for (const socket of this.#server.clients) {
      if (!this.#alive.delete(socket)) socket.terminate();
      else socket.ping();
    }
  }

  #closeAll(): void {
    for (const socket of this.#server.clients) socket.close(GOING_AWAY);
  }
}

function refuse(socket: WebSocket, problem: string): void {
  socket.send(JSON.stringify({ problem }));
}

function readText(data: string): string | undefined {
  try {
    const { text } = JSON.parse(data) as { text?: unknown };
    return typeof text === "string" && text.trim() !== "" && text.length <= MESSAGE_LIMIT ? text.trim() : undefined;
  } catch {
    return undefined;
  }
}
