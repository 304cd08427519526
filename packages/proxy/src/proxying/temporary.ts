/**
 * A file without a name: bytes that do not fit into memory, written at one end and read at any place.
 *
 * On Linux it never has a name (O_TMPFILE), elsewhere its name is removed as soon as it is open: whatever kills this
 * process, nothing is left behind. Reads and writes go to the thread pool, never to the event loop.
 */
import { close, constants, mkdir, open, read, unlink, writev } from "node:fs";
import { join } from "node:path";
import { randomUUID } from "node:crypto";

/** Linux: __O_TMPFILE | O_DIRECTORY. Node has no name for it. The same on every architecture Node runs on. */
const O_TMPFILE = 0o20000000 | constants.O_DIRECTORY;

/** Whether the folder's file system knows O_TMPFILE; false once it has said no. */
let nameless = process.platform === "linux";

type OpenCallback = (error: Error | null, fd: number, remove: string | undefined) => void;

function openNamed(folder: string, retried: boolean, callback: OpenCallback): void {
  const path = join(folder, `body-${randomUUID()}`);
  const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
  open(path, flags, 0o600, (error, fd) => {
    if (error === null) {
      // Windows removes an open file only when it is closed: then its name goes with it.
      unlink(path, (failed) => callback(null, fd, failed === null ? undefined : path));
    } else if (error.code === "ENOENT" && !retried) {
      mkdir(folder, { recursive: true, mode: 0o700 }, () => openNamed(folder, true, callback));
    } else callback(error, -1, undefined);
  });
}

function openTemporary(folder: string, callback: OpenCallback): void {
  if (!nameless) {
    openNamed(folder, false, callback);
    return;
  }
  open(folder, constants.O_RDWR | O_TMPFILE, 0o600, (error, fd) => {
    if (error === null) callback(null, fd, undefined);
    else {
      // ENOENT may be a missing folder, or an old kernel; the named way finds out.
      if (error.code !== "ENOENT" && error.code !== "EMFILE" && error.code !== "ENFILE") nameless = false;
      openNamed(folder, false, callback);
    }
  });
}

/** What came of a write or a read. */
export interface TemporaryEvents {
  /** Everything that was given to `append` so far is in the file. */
  onWritten(): void;
  /** The answer to `read`. The receiver owns the bytes. */
  onRead(chunk: Uint8Array): void;
  /** The disk takes no more. `rest` is what was given to `append` and is not in the file; what is in it can be read. */
  onFull(error: Error, rest: Uint8Array[]): void;
  /** The file cannot be read any more; it is closed. */
  onFailed(error: Error): void;
}

/** At once from the file: as much as a socket takes in one turn. */
export const READ_BYTES = 64 * 1024;

export class TemporaryFile {
  /** Bytes given to `append`. */
  size = 0;
  /** Bytes in the file. */
  written = 0;
  readonly #events: TemporaryEvents;
  #fd = -1;
  #remove: string | undefined;
  #pending: Uint8Array[] = [];
  #writing = false;
  #reading = false;
  #destroyed = false;

  constructor(folder: string, events: TemporaryEvents) {
    this.#events = events;
    this.#writing = true;
    openTemporary(folder, (error, fd, remove) => {
      this.#writing = false;
      this.#fd = fd;
      this.#remove = remove;
      if (this.#destroyed) this.#close();
      else if (error !== null) this.#stopWriting(error, []);
      else this.#flush();
    });
  }

  /** Bytes that are still in memory. */
  get unwritten(): number {
    return this.size - this.written;
  }

  /** Not after `onFull`. */
  append(chunk: Uint8Array): void {
    if (this.#destroyed) return;
    this.size += chunk.length;
    this.#pending.push(chunk);
    if (!this.#writing) this.#flush();
  }

  /** Reads up to {@link READ_BYTES} from `position`, which must be in the file; one at a time. */
  read(position: number): void {
    if (this.#destroyed) return;
    const buffer = Buffer.allocUnsafe(Math.min(READ_BYTES, this.written - position));
    this.#reading = true;
    read(this.#fd, buffer, 0, buffer.length, position, (error, bytes) => {
      this.#reading = false;
      if (this.#destroyed) this.#close();
      else if (error !== null) this.#fail(error);
      else if (bytes === 0) this.#fail(new TemporaryFileError("the temporary file is shorter than what was written"));
      else this.#events.onRead(bytes === buffer.length ? buffer : buffer.subarray(0, bytes));
    });
  }

  /** Starts the file over: its content was read and is not needed again. Only while nothing is under way. */
  rewind(): void {
    this.size = 0;
    this.written = 0;
  }

  destroy(): void {
    if (this.#destroyed) return;
    this.#destroyed = true;
    this.#pending = [];
    this.#close();
  }

  #flush(): void {
    if (this.#destroyed) {
      this.#close();
      return;
    }
    if (this.#pending.length === 0) {
      this.#events.onWritten();
      return;
    }
    const chunks = this.#pending;
    this.#pending = [];
    this.#writing = true;
    this.#write(chunks);
  }

  #write(chunks: Uint8Array[]): void {
    writev(this.#fd, chunks, this.written, (error, bytes) => {
      if (this.#destroyed || error !== null) {
        this.#writing = false;
        if (this.#destroyed) this.#close();
        else if (error !== null) this.#stopWriting(error, chunks);
        return;
      }
      this.written += bytes;
      const rest = dropBytes(chunks, bytes);
      if (rest.length > 0) {
        this.#write(rest);
        return;
      }
      this.#writing = false;
      this.#flush();
    });
  }

  #stopWriting(error: Error, begun: Uint8Array[]): void {
    const rest = begun.concat(this.#pending);
    this.#pending = [];
    this.size = this.written;
    this.#events.onFull(error, rest);
  }

  #fail(error: Error): void {
    this.destroy();
    this.#events.onFailed(error);
  }

  /** Once nothing is under way; the descriptor must not be reused under a pending read. */
  #close(): void {
    if (this.#writing || this.#reading || this.#fd === -1) return;
    const fd = this.#fd;
    const path = this.#remove;
    this.#fd = -1;
    close(fd, () => {
      if (path !== undefined) unlink(path, () => {});
    });
  }
}

export class TemporaryFileError extends Error {
  override readonly name = "TemporaryFileError";
}

/** What is left of `chunks` without their first `bytes`: a disk may take less than it was given. */
function dropBytes(chunks: Uint8Array[], bytes: number): Uint8Array[] {
  let left = bytes;
  for (let i = 0; i < chunks.length; i++) {
    const chunk = chunks[i]!;
    if (left < chunk.length) return [chunk.subarray(left), ...chunks.slice(i + 1)];
    left -= chunk.length;
  }
  return [];
}
