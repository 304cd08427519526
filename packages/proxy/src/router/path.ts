/**
 * The path of a request target, as routes and files are looked up by it.
 *
 * Routing needs one reading of a path, or a rule for `/admin` could be walked around as `//admin`, `/%61dmin` or
 * `/x/../admin`. So for looking up (never for forwarding: the target goes on byte for byte) a path is percent-decoded
 * except for encoded slashes (which are no separators, RFC 3986 §2.2), repeated slashes are one, and dot segments are
 * resolved (§5.2.4).
 */

const PERCENT = 0x25;
const DOT = 0x2e;
const SLASH = 0x2f;
const QUESTION = 0x3f;

/**
 * Normal path of a target in origin-form, without query; undefined where there is none: malformed percent-encoding,
 * bytes that are not UTF-8, NUL, or dot segments that climb above the root. Answer 400 then.
 *
 * HOT: for a path in normal form this is one look at each character and, where there is a query, one slice. Anything
 * that has `%`, NUL, `//` or `/.` takes the slow way.
 */
export function lookupPath(target: string): string | undefined {
  let before = 0;
  for (let at = 0; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code === QUESTION) return target.slice(0, at);
    if (code === PERCENT || code === 0 || (before === SLASH && (code === SLASH || code === DOT))) {
      const query = target.indexOf("?", at);
      return normalise(query === -1 ? target : target.slice(0, query));
    }
    before = code;
  }
  return target;
}

/** The query of a target with its question mark; empty where there is none. */
export function queryOf(target: string): string {
  const query = target.indexOf("?");
  return query === -1 ? "" : target.slice(query);
}

function decode(path: string): string | undefined {
  try {
    // An encoded slash stays encoded, so that it can never become a separator further on.
    return decodeURIComponent(path.replaceAll(/%2f/gi, "%252F"));
  } catch {
    return undefined;
  }
}

function normalise(path: string): string | undefined {
  const decoded = decode(path);
  if (decoded === undefined || decoded.includes("\0")) return undefined;
  const kept: string[] = [];
  const segments = decoded.split("/");
  for (let index = 1; index < segments.length; index++) {
    const segment = segments[index]!;
    if (segment === "..") {
      if (kept.pop() === undefined) return undefined;
    } else if (segment !== "." && segment !== "") {
      kept.push(segment);
    }
  }
  const last = segments.at(-1)!;
  const directory = last === "" || last === "." || last === "..";
  return `/${kept.join("/")}${directory && kept.length > 0 ? "/" : ""}`;
}

/** A segment's bytes as a path is compared by them. */
const decoded = (segment: string): string => (segment.includes("%") ? decodeURIComponent(segment) : segment);

/**
 * A raw path (one that {@link lookupPath} has read) without repeated slashes and dot segments, its segments as they
 * were written.
 */
export function normalTarget(path: string): string {
  if (!/%|\/[/.]/.test(path)) return path;
  const kept: string[] = [];
  const segments = path.split("/");
  let last = "";
  for (const segment of segments.slice(1)) {
    last = decoded(segment);
    if (last === "..") kept.pop();
    else if (last !== "." && last !== "") kept.push(segment);
  }
  const directory = last === "" || last === "." || last === "..";
  return `/${kept.join("/")}${directory && kept.length > 0 ? "/" : ""}`;
}
