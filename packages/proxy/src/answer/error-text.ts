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

/** What the client would rather read. Not a full negotiation: the order it names them in decides. */
export function preferred(accept: string | undefined): ErrorFormat {
  if (accept === undefined) return "text";
  const html = accept.indexOf("text/html");
  const json = accept.indexOf("json");
  if (json !== -1 && (html === -1 || json < html)) return "json";
  return html === -1 ? "text" : "html";
}

const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

export const escapeHtml = (text: string): string => text.replaceAll(/[&<>"']/g, (character) => ENTITIES[character]!);
