/** Sends messages to a peer and gathers what it read of each. */
import type { Peer } from "./peers.ts";
import { parseReading, type Reading } from "./reading.ts";
import { send } from "./sender.ts";

export interface Replayed {
  readonly method: string;
  readonly raw: Buffer;
}

/** Follows the messages on each connection: were one of them read longer or shorter, this would not come out. */
const SENTINEL = {
  method: "GET",
  target: "/sentinel",
  raw: Buffer.from("GET /sentinel HTTP/1.1\r\nHost: sentinel\r\n\r\n"),
};

/** What follows such a message may not be HTTP, and node:http does not read it before somebody has declined. */
const UPGRADE = /\r\nUpgrade: /;

/** Messages on one connection. */
const PIPELINE = 25;

/** Reading of each message, or the status it was refused with, or how the connection ended instead. */
export async function replay(peer: Peer, messages: readonly Replayed[]): Promise<(Reading | number | string)[]> {
  const readings: (Reading | number | string)[] = [];
  const most = peer.pipelines ? PIPELINE : 1;
  while (readings.length < messages.length) {
    let some = messages.slice(readings.length, readings.length + most);
    const switching = some.findIndex(({ raw }) => UPGRADE.test(raw.toString("latin1")));
    if (switching >= 0) some = some.slice(0, switching + 1);
    const followed = peer.pipelines && switching < 0;
    const sent = followed ? [...some, SENTINEL] : some;
    const { answers, end } = await send({
      ...peer.at,
      pieces: [Buffer.concat(sent.map(({ raw }) => raw))],
      methods: sent.map(({ method }) => method),
    });
    const read = answers.map(({ status, body }, index): Reading | number | string => {
      if (status !== 200) return status;
      if (sent[index]?.method === "HEAD") return { method: "HEAD", target: "", fields: [], body: "" };
      return parseReading(body);
    });
    if (read.length > sent.length) throw new RangeError(`${peer.name} answered ${read.length} of ${sent.length}`);
    if (read.length === sent.length && followed) checkSentinel(peer, read.pop()!, some);
    if (read.length === 0) read.push(end);
    readings.push(...read);
  }
  return readings;
}

function checkSentinel(peer: Peer, read: Reading | number | string, behind: readonly Replayed[]): void {
  if (typeof read === "object" && read.target === SENTINEL.target && read.body === "") return;
  const bytes = behind.map(({ raw }) => JSON.stringify(raw.toString("latin1"))).join("\n");
  throw new RangeError(`${peer.name} read the last message as ${JSON.stringify(read)}, behind\n${bytes}`);
}
