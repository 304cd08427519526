/** What error answers say, and in which form. */

/** What the usual statuses mean to the one who reads them. Never more than that: no names, no stack. */
export const EXPLANATIONS: Readonly<Record<number, string>> = {
  400: "The request could not be understood.",
  403: "This may not be read.",
  404: "There is nothing here under this name.",
  405: "This address does not take that method.",
  408: "The request took too long to arrive.",
  412: "The condition of the request does not hold.",
  413: "The request's body is larger than this server takes.",
  416: "The file does not have the requested range.",
  421: "This server does not answer for that host.",
  500: "Something went wrong on the server.",
  501: "The server does not support this.",
  502: "The application behind this server gave no valid answer.",
  503: "The server is busy. Please try again in a moment.",
  504: "The application behind this server did not answer in time.",
};

export type ErrorFormat = "html" | "json" | "text";

/** What the client would rather read: of the forms it names the one with the greatest weight, the first of equals (RFC 9110 §12.4.2). */
export function preferred(accept: string | undefined): ErrorFormat {
  let best: ErrorFormat = "text";
  let most = 0;
  for (const range of (accept ?? "").toLowerCase().split(",")) {
    const format = formatOf(range);
    const weight = Number(/;[\t ]*q=([0-9.]+)/.exec(range)?.[1] ?? 1);
    if (format === undefined || !(weight > most)) continue;
    best = format;
    most = weight;
  }
  return best;
}

function formatOf(range: string): ErrorFormat | undefined {
  if (range.includes("text/html")) return "html";
  if (range.includes("json")) return "json";
  return range.includes("text/plain") ? "text" : undefined;
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
