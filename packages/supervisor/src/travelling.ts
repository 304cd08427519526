/**
 * Descriptors that a child may not have taken yet, oldest first. Node keeps ours open until the child says that it has
 * its own, and for ever where it dies before: the other end would wait for nobody.
 */
import type { SendHandle } from "node:child_process";

interface Descriptor {
  close(): void;
}

export class Travelling {
  readonly #descriptors: Descriptor[] = [];

  /** Called before the message goes; call what it returns when Node says that the message has gone. */
  depart(handle: SendHandle | undefined): () => void {
    const descriptor = descriptorOf(handle);
    if (descriptor === undefined) return () => {};
    this.#descriptors.push(descriptor);
    // Node sends one descriptor at a time, each when the child has taken the one before.
    return () => void this.#descriptors.splice(0, Math.max(0, this.#descriptors.indexOf(descriptor)));
  }

  /** The child is dead. */
  close(): void {
    for (const descriptor of this.#descriptors.splice(0)) descriptor.close(); // no effect on one that is closed
  }
}

/** What a socket is in Node's inside. `send` takes it out of the socket, so that the socket's own `destroy` reaches it no more. */
function descriptorOf(handle: SendHandle | undefined): Descriptor | undefined {
  return (handle as { _handle?: Descriptor } | undefined)?._handle;
}
