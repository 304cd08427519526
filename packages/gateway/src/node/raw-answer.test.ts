import { describe, expect, it } from "vitest";
import { type AnswerSink, RawAnswer } from "./raw-answer.ts";

interface Case {
  readonly name: string;
  readonly connect?: boolean;
  readonly text: string;
  /** Calls of the sink; pieces of body are joined. */
  readonly calls: unknown[][];
}

const ACCEPTED: readonly Case[] = [
  {
    name: "101 and what follows it",
    text: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nX-A:  1 \r\n\r\nfirst bytes",
    calls: [["upgrade", 101, ["X-A", "1"]], ["write", "first bytes"], ["end"]],
  },
  {
    name: "a 2xx to CONNECT, without reason",
    connect: true,
    text: "HTTP/1.1 200\r\n\r\nbytes",
    calls: [["upgrade", 200, []], ["write", "bytes"], ["end"]],
  },
  {
    name: "a refusal that ends with the connection",
    text: "HTTP/1.1 401 Unauthorized\r\nConnection: close\r\n\r\nno",
    calls: [["answer", 401, [], "no"]],
  },
  {
    name: "a refusal with its length",
    text: "HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\n\r\nbad",
    calls: [["answer", 400, ["Content-Length", "3"], "bad"]],
  },
  {
    name: "a refusal without body",
    text: "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n",
    calls: [["answer", 403, ["Content-Length", "0"], ""]],
  },
  {
    name: "a chunked refusal with a trailer",
    text: "HTTP/1.1 404 Not Found\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nnot\r\nb\r\n there, no.\r\n0\r\nX-T: 1\r\n\r\n",
    calls: [["answer", 404, [], "not there, no."]],
  },
  {
    name: "interim heads before",
    text: "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
    calls: [
      ["inform", 103, ["Link", "</a>"]],
      ["answer", 204, [], ""],
    ],
  },
];

const REFUSED: readonly [name: string, text: string][] = [
  ["bare LF", "HTTP/1.1 200 OK\n\n\r\n\r\n"],
  ["another version", "HTTP/2 200\r\n\r\n"],
  ["a status of two digits", "HTTP/1.1 20 OK\r\n\r\n"],
  ["a folded line", "HTTP/1.1 400 Bad\r\nA: b\r\n c\r\n\r\n"],
  ["white space before the colon", "HTTP/1.1 400 Bad\r\nA : b\r\n\r\n"],
  ["NUL in a value", "HTTP/1.1 400 Bad\r\nA: \0\r\n\r\n"],
  ["two lengths", "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"],
  ["length and chunked", "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\nx"],
  ["a length that is no number", "HTTP/1.1 400 Bad\r\nContent-Length: +1\r\n\r\nx"],
  ["more than its length", "HTTP/1.1 400 Bad\r\nContent-Length: 1\r\n\r\nxy"],
  ["less than its length", "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\nx"],
  ["an unfinished head", "HTTP/1.1 400 Bad\r\nA: b"],
  ["a chunk size with an extension", "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n"],
  ["a chunk longer than its size", "HTTP/1.1 400 Bad\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nxy\r\n0\r\n\r\n"],
  ["a head without end", `HTTP/1.1 400 Bad\r\nA: ${"x".repeat(40_000)}`],
  ["nothing", ""],
];

/** Feeds a text in pieces, and gives what the sink was told, in a form that does not depend on the pieces. */
function read(text: string, size: number, connect = false): unknown[][] {
  const calls: unknown[][] = [];
  let open: [string, number, unknown, string] | undefined;
  const sink: AnswerSink = {
    inform: (status, headers) => void calls.push(["inform", status, headers]),
    upgrade: (status, headers) => void calls.push(["upgrade", status, headers]),
    respond: (status, headers, body) =>
      void calls.push(["answer", status, headers, body === null ? "" : Buffer.from(body).toString()]),
    start: (status, headers) => {
      open = ["answer", status, headers, ""];
      calls.push(open);
    },
    write: (chunk) => {
      const last = calls.at(-1);
      if (open !== undefined) {
        open[3] += Buffer.from(chunk).toString();
      } else if (last?.[0] === "write") {
        last[1] += Buffer.from(chunk).toString();
      } else {
        calls.push(["write", Buffer.from(chunk).toString()]);
      }
    },
    end: () => {
      if (open === undefined) {
        calls.push(["end"]);
      }
    },
  };
  const answer = new RawAnswer(sink, connect);
  const bytes = Buffer.from(text, "latin1");
  for (let at = 0; at < bytes.length; at += size) {
    answer.receive(bytes.subarray(at, at + size));
  }
  answer.receiveEnd();
  return calls;
}

describe("RawAnswer", () => {
  it.each(ACCEPTED)("reads $name, in pieces of any size", ({ text, calls, connect }) => {
    for (const size of [text.length, 1, 2, 3, 7, 16]) {
      expect(read(text, size, connect)).toEqual(calls);
    }
  });

  it.each(REFUSED)("refuses %s", (_name, text) => {
    for (const size of [Math.max(1, text.length), 1, 5]) {
      expect(() => read(text, size)).toThrow(expect.objectContaining({ code: "ERR_HTTP_INVALID_MESSAGE" }) as Error);
    }
  });
});
