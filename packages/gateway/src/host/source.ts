/** A response body that is produced bit by bit. */
export interface BodySource {
  next(): Promise<{ readonly done: boolean; readonly value: unknown }>;
  /** Tells the producer that nobody takes the rest. Never throws. */
  cancel(reason: unknown): void;
}

/** The source behind a ReadableStream or anything that is iterated asynchronously; undefined for other values. Throws what a locked stream throws. */
export function sourceOf(body: object): BodySource | undefined {
  if (isReadableStream(body)) return new StreamSource(body);
  if (Symbol.asyncIterator in body) return new IteratorSource(body as AsyncIterable<unknown>);
  return undefined;
}

class StreamSource implements BodySource {
  readonly #reader: ReadableStreamDefaultReader<unknown>;

  constructor(stream: ReadableStream<unknown>) {
    this.#reader = stream.getReader();
  }

  next(): Promise<{ done: boolean; value: unknown }> {
    return this.#reader.read();
  }

  cancel(reason: unknown): void {
    this.#reader.cancel(reason).catch(ignore);
  }
}

class IteratorSource implements BodySource {
  readonly #iterable: AsyncIterable<unknown>;
  #iterator: AsyncIterator<unknown> | undefined;

  constructor(iterable: AsyncIterable<unknown>) {
    this.#iterable = iterable;
  }

  next(): Promise<{ done: boolean; value: unknown }> {
    this.#iterator ??= this.#iterable[Symbol.asyncIterator]();
    return this.#iterator.next() as Promise<{ done: boolean; value: unknown }>;
  }

  cancel(): void {
    // One that was not begun is begun, for `return` is what closes what it holds (a Node stream's file, say).
    const iterator = (this.#iterator ??= this.#iterable[Symbol.asyncIterator]());
    try {
      iterator.return?.()?.then(undefined, ignore);
    } catch {
      // The producer's `return` threw at once. Nobody is left to be told.
    }
  }
}

function isReadableStream(value: object): value is ReadableStream<unknown> {
  return value instanceof ReadableStream || typeof (value as Partial<ReadableStream>).getReader === "function";
}

function ignore(): void {}
