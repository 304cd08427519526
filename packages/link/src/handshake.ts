/** The handshake of a link, as one end sees it: HELLO both ways, and AUTH where there is a secret (docs/spec/link.md, 4.1 to 4.4 and 10.2). */

import { type CloseCode, LinkError } from "./error.ts";
import { FRAME, type FastBuffer } from "./frame.ts";
import { readFields, writeFields } from "./head.ts";
import {
  type LinkRole,
  type PeerHello,
  helloFields,
  makeNonce,
  parseHello,
  proof,
  sameProof,
  secretBytes,
} from "./hello.ts";
import { HANDSHAKE_FRAME_BYTES } from "./limits.ts";
import type { Outbox } from "./outbox.ts";

/** What a frame led to: more is needed, the handshake is complete, or the link is to be failed with this. */
export type HandshakeStep = "more" | "complete" | { readonly code: CloseCode; readonly reason: string };

export class Handshake {
  /** What the peer said of itself; believed only once the handshake is complete. */
  peer: PeerHello | undefined;
  readonly #role: LinkRole;
  readonly #out: Outbox;
  readonly #secret: Uint8Array | undefined;
  readonly #random: ((size: number) => Uint8Array) | undefined;
  /** Payloads of both HELLOs, for the proofs. */
  #own: Uint8Array | undefined;
  #theirs: Uint8Array | undefined;

  /** Throws LinkError `option` where the secret is too short, or comes without randomness. */
  constructor(
    role: LinkRole,
    out: Outbox,
    secret: string | Uint8Array | undefined,
    random: ((size: number) => Uint8Array) | undefined,
  ) {
    this.#role = role;
    this.#out = out;
    this.#random = random;
    if (secret === undefined) return;
    this.#secret = secretBytes(secret);
    if (random === undefined) throw new LinkError("option", "a link with a secret needs a source of randomness");
  }

  /** Says HELLO. `hello` is ours, its challenge left out. */
  begin(hello: PeerHello): void {
    const nonce = this.#secret === undefined ? "" : makeNonce(this.#random!);
    const fields = helloFields({ ...hello, nonce });
    this.#own = Uint8Array.from(writeFields(this.#out, FRAME.HELLO, 0, 0, fields, HANDSHAKE_FRAME_BYTES));
  }

  /** One frame of the link itself, CLOSE excepted. */
  take(type: number, bytes: FastBuffer, start: number, end: number, maxStrings: number): HandshakeStep {
    if (type === FRAME.HELLO && this.peer === undefined) return this.#onHello(bytes, start, end, maxStrings);
    if (type === FRAME.AUTH && this.#theirs !== undefined) return this.#onAuth(bytes, start, end, maxStrings);
    return fault("protocol", `frame of type ${type} instead of the handshake`);
  }

  #onHello(bytes: FastBuffer, start: number, end: number, maxStrings: number): HandshakeStep {
    const fields = readFields(bytes, start, end, maxStrings);
    if (fields === undefined) return fault("protocol", "malformed HELLO");
    let peer: PeerHello;
    try {
      peer = parseHello(fields, this.#role === "proxy" ? "worker" : "proxy");
    } catch (error) {
      if (!(error instanceof LinkError)) throw error;
      return fault(error.code === "version" ? "version" : "protocol", error.message);
    }
    const expected = this.#secret !== undefined;
    if ((peer.nonce !== "") !== expected)
      return fault("authentication", expected ? "the peer has no secret" : "the peer asks for a secret");
    this.peer = peer;
    if (!expected) return "complete";
    this.#theirs = Uint8Array.prototype.slice.call(bytes, start, end);
    if (this.#role === "proxy") this.#sendProof();
    return "more";
  }

  #onAuth(bytes: FastBuffer, start: number, end: number, maxStrings: number): HandshakeStep {
    const fields = readFields(bytes, start, end, maxStrings);
    if (fields === undefined || fields.length < 2 || fields[0] !== "proof") return fault("protocol", "malformed AUTH");
    const role = this.#role === "proxy" ? "worker" : "proxy";
    if (!sameProof(fields[1]!, this.#proofOf(role))) return fault("authentication", "the proof is wrong");
    if (this.#role === "worker") this.#sendProof();
    this.#own = undefined;
    this.#theirs = undefined;
    return "complete";
  }

  #sendProof(): void {
    writeFields(this.#out, FRAME.AUTH, 0, 0, ["proof", this.#proofOf(this.#role)], HANDSHAKE_FRAME_BYTES);
  }

  #proofOf(role: LinkRole): string {
    const [proxy, worker] = this.#role === "proxy" ? [this.#own!, this.#theirs!] : [this.#theirs!, this.#own!];
    return proof(this.#secret!, role, proxy, worker);
  }
}

function fault(code: CloseCode, reason: string): HandshakeStep {
  return { code, reason };
}
