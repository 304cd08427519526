/** The live feed: one Server-Sent Events stream for each open page. */
import type { BoardEvent, Events } from "./events.ts";
import type { Notice } from "./notices.ts";
import { noticeCard } from "./pages/board.ts";

const HEARTBEAT_MS = 20_000; // below the idle limit of every proxy on the way (30 s is the shortest in common use)
const RETRY_MS = 1_000; // a browser's own default is several seconds

/**
 * A stream of events that ends when the signal aborts or the reader leaves.
 * @param since id of the last event that the page knows of: what came after it is sent first
 */
export function feed(events: Events, signal: AbortSignal, since: number): Response {
  const encoder = new TextEncoder();
  let close = (): void => {};
  const stream = new ReadableStream<Uint8Array>({
    start(controller) {
      const send = (text: string): void => controller.enqueue(encoder.encode(text));
      // Rendering may take a turn of the event loop; one after the other keeps the order.
      let turn: Promise<void> = Promise.resolve();
      const deliver = (event: BoardEvent): void => {
        if (event.topic !== "message") turn = turn.then(() => render(event)).then(send, close);
      };
      const unsubscribe = events.subscribe(deliver);
      const heartbeat = setInterval(() => send(": still here\n\n"), HEARTBEAT_MS);
      close = () => {
        clearInterval(heartbeat);
        unsubscribe();
        signal.removeEventListener("abort", end);
      };
      const end = (): void => {
        close();
        controller.close();
      };
      signal.addEventListener("abort", end);
      send(`retry: ${RETRY_MS}\n\n`);
      for (const event of events.since(since)) deliver(event);
    },
    cancel: () => close(),
  });
  return new Response(stream, {
    headers: { "content-type": "text/event-stream", "cache-control": "no-store", "x-accel-buffering": "no" },
  });
}

/** A browser that connects again sends the id back in Last-Event-ID. */
async function render({ id, topic, payload }: BoardEvent): Promise<string> {
  if (topic === "notice-removed") return `id: ${id}\nevent: ${topic}\ndata: ${payload}\n\n`;
  const notice = JSON.parse(payload) as Notice;
  const data = JSON.stringify({ id: notice.id, html: String(await noticeCard(notice)) });
  return `id: ${id}\nevent: ${topic}\ndata: ${data}\n\n`;
}
