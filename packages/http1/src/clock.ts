/** Wall-clock time for a set of connections. The Date line is rendered once a second, whoever asks. */
export class Clock {
  /** Milliseconds since the epoch. */
  readonly now: () => number;
  private second = -1;
  private line = "";

  constructor(now: () => number = Date.now) {
    this.now = now;
  }

  /** `Date: …` with CRLF (RFC 9110 §6.6.1). */
  dateLine(): string {
    return this.dateLineAt(this.now());
  }

  /** The same for a time that was read a moment ago: reading the clock costs more than the rest. */
  dateLineAt(time: number): string {
    const second = Math.floor(time / 1000);
    if (second !== this.second) {
      this.second = second;
      this.line = `Date: ${new Date(second * 1000).toUTCString()}\r\n`;
    }
    return this.line;
  }
}
