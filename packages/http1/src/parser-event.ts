/**
 * What `next()` answers. A parser has three kinds of answer: an event, *need more*, or a failure.
 *
 * - `NEED_MORE`: everything fed so far is understood; feed more, or `finish()`.
 * - `HEAD`: the head stands in the parser's fields, until the next call.
 * - `DATA`: a part of the body stands in `data`. The bytes are a view of what was fed, or a copy of what was lent.
 * - `END`: the message is complete (every `HEAD` has one, bodies or not); trailers stand in `trailers`.
 * - `FAILED`: the message is refused; `error` says by which rule and with which status. Final.
 *
 * The same bytes give the same events and the same rule however they are cut into chunks (only the cuts of `DATA` differ).
 */
export const NEED_MORE = 0;
export const HEAD = 1;
export const DATA = 2;
export const END = 3;
export const FAILED = 4;
export type ParserEvent = typeof NEED_MORE | typeof HEAD | typeof DATA | typeof END | typeof FAILED;
