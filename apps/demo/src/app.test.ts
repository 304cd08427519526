/** The application on the reference server, inside the lint of its interface: what it answers, and what it refuses. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { lint } from "@portico/gateway/lint";
import { type ReferenceServer, serveReference } from "@portico/gateway/reference";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { WebSocket } from "ws";
import { PIXEL } from "./test-data.ts";

const folder = mkdtempSync(join(tmpdir(), "portico-demo-"));
process.env["DEMO_DATA"] = folder;
let server: ReferenceServer;
let cookie: string;

beforeAll(async () => {
  const { default: application } = await import("./app.ts");
  server = await serveReference(lint(application), { grace: 100 });
  cookie = await register("ada");
});
afterAll(async () => {
  await server.close();
  rmSync(folder, { recursive: true, force: true });
});

interface Ask {
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly body?: string | FormData | URLSearchParams;
}

const ask = (path: string, { headers = {}, ...rest }: Ask = {}): Promise<Response> =>
  fetch(server.url + path, { redirect: "manual", ...rest, headers: { origin: server.url, ...headers } });

async function register(name: string): Promise<string> {
  const body = new URLSearchParams({ name, password: "correct horse" });
  const response = await ask("/register", { method: "POST", body });
  expect(response.status).toBe(303);
  return response.headers.get("set-cookie")!.split(";")[0]!;
}

function notice(fields: Record<string, string | File>): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields)) form.set(name, value);
  return form;
}

test("healthz says ok, without the database", async () => {
  const response = await ask("/healthz");
  expect([response.status, await response.text()]).toEqual([200, "ok\n"]);
});

test("pages have a policy that allows no foreign script, and no inline one", async () => {
  const policy = (await ask("/")).headers.get("content-security-policy");
  expect(policy).toContain("default-src 'self'");
  expect(policy).not.toContain("unsafe");
  expect((await ask("/")).headers.get("x-content-type-options")).toBe("nosniff");
});

test("the session cookie is out of reach of scripts and of other sites", async () => {
  const body = new URLSearchParams({ name: "ada", password: "correct horse" });
  const response = await ask("/login", { method: "POST", body });
  expect(response.headers.get("set-cookie")).toMatch(/^session=[\w-]{32}; .*HttpOnly; SameSite=Lax$/);
});

test("what people write is text, never markup", async () => {
  const title = `<script>alert("title")</script>`;
  const body = `"><img src=x onerror=alert(1)>`;
  const posted = await ask("/notices", { method: "POST", headers: { cookie }, body: notice({ title, body }) });
  expect(posted.status).toBe(303);
  const page = await (await ask("/")).text();
  expect(page).toContain("&lt;script&gt;alert(&quot;title&quot;)&lt;/script&gt;");
  expect(page).toContain("&lt;img src=x onerror=alert(1)&gt;");
  expect(page).not.toMatch(/<script>alert|<img src=x/);
});

test("a rejected name is shown as text too", async () => {
  const body = new URLSearchParams({ name: `"><script>x</script>`, password: "correct horse" });
  const page = await (await ask("/register", { method: "POST", body })).text();
  expect(page).toContain("A name has 2 to 30");
  expect(page).not.toContain("<script>x");
});

test("an upload that is no picture is refused with a message, and what was written is kept", async () => {
  const image = new File(["<html>"], "holiday.png", { type: "image/png" });
  const response = await ask("/notices", {
    method: "POST",
    headers: { cookie },
    body: notice({ title: "Choir & co", body: "At seven", image }),
  });
  expect(response.status).toBe(400);
  const page = await response.text();
  expect(page).toContain("A picture is a PNG, JPEG, GIF or WebP file.");
  expect(page).toContain(`value="Choir &amp; co"`);
  expect(page).toContain(">At seven</textarea>");
});

test("a picture comes back as it was, to be kept for ever", async () => {
  const image = new File([PIXEL], "x.svg", { type: "image/svg+xml" });
  await ask("/notices", { method: "POST", headers: { cookie }, body: notice({ title: "With a picture", image }) });
  const { notices } = (await (await ask("/api/notices")).json()) as { notices: { image: string | null }[] };
  const response = await ask(`/images/${notices[0]!.image}`);
  expect(response.headers.get("content-type")).toBe("image/png");
  expect(response.headers.get("cache-control")).toContain("immutable");
  expect(Buffer.from(await response.arrayBuffer())).toEqual(PIXEL);
});

test.each([
  ["/notices", new URLSearchParams({ title: "From elsewhere" })],
  ["/logout", new URLSearchParams()],
])("a form on another site cannot post to %s", async (path, body) => {
  const response = await ask(path, { method: "POST", headers: { cookie, origin: "https://evil.example" }, body });
  expect(response.status).toBe(403);
  expect(await (await ask("/", { headers: { cookie } })).text()).toContain("Log out");
  expect(await (await ask("/")).text()).not.toContain("From elsewhere");
});

test("who is not logged in is sent there", async () => {
  const response = await ask("/notices", { method: "POST", body: notice({ title: "Nobody" }) });
  expect([response.status, response.headers.get("location")]).toEqual([303, "/login"]);
});

test("only their own notices can people remove", async () => {
  await ask("/notices", { method: "POST", headers: { cookie }, body: notice({ title: "Mine" }) });
  const { notices } = (await (await ask("/api/notices")).json()) as { notices: { id: number; title: string }[] };
  const { id } = notices.find(({ title }) => title === "Mine")!;
  const other = await register("grace");
  const form = { method: "POST", body: new URLSearchParams() };
  await ask(`/notices/${id}/remove`, { ...form, headers: { cookie: other } });
  expect((await ask(`/api/notices/${id}`)).status).toBe(200);
  await ask(`/notices/${id}/remove`, { ...form, headers: { cookie } });
  expect((await ask(`/api/notices/${id}`)).status).toBe(404);
});

test("after logging out the cookie is worth nothing", async () => {
  const gone = await register("alan");
  await ask("/logout", { method: "POST", headers: { cookie: gone }, body: new URLSearchParams() });
  expect(await (await ask("/", { headers: { cookie: gone } })).text()).not.toContain("Log out");
});

test("a page that is not there is a page", async () => {
  const response = await ask("/nothing");
  expect(response.status).toBe(404);
  expect(await response.text()).toContain("Back to the board");
});

test("/stack.json says what served it", async () => {
  const { way } = (await (await ask("/stack.json")).json()) as { way: { name: string }[] };
  expect(way.map(({ name }) => name)).toEqual(["client", "HTTP/1.1", expect.stringMatching(/^worker \d+ of \d+$/)]);
});

describe("the JSON API", () => {
  const json = { "content-type": "application/json" };
  const bearer = (): Record<string, string> => ({ ...json, authorization: `Bearer ${cookie.split("=")[1]}` });
  const post = (body: unknown, headers: Record<string, string> = bearer()): Promise<Response> =>
    ask("/api/notices", { method: "POST", headers, body: typeof body === "string" ? body : JSON.stringify(body) });

  test("a notice is made, found, listed and removed", async () => {
    const made = await post({ title: "By a program", body: "text" });
    expect(made.status).toBe(201);
    const created = (await made.json()) as { id: number };
    expect(created).toMatchObject({ author: "ada", title: "By a program", body: "text", image: null });
    const location = made.headers.get("location")!;
    expect(await (await ask(location)).json()).toEqual(created);
    const list = (await (await ask(`/api/notices?before=${created.id + 1}`)).json()) as { notices: unknown[] };
    expect(list.notices[0]).toEqual(created);
    expect((await ask(location, { method: "DELETE", headers: bearer() })).status).toBe(204);
    expect((await ask(location)).status).toBe(404);
  });

  test.each([
    ["without a session", { title: "x" }, json, 401, "log in first"],
    ["that is no JSON", "{", undefined, 400, 'expected {"title": text, "body": text}'],
    ["without a title", { body: "x" }, undefined, 400, 'expected {"title": text, "body": text}'],
    ["with a number for a title", { title: 1 }, undefined, 400, 'expected {"title": text, "body": text}'],
    ["with a title too long", { title: "x".repeat(121) }, undefined, 400, "A title has 1 to 120 characters."],
    [
      "with a text too long",
      { title: "x", body: "x".repeat(5_001) },
      undefined,
      400,
      "A text has at most 5,000 characters.",
    ],
  ])("a notice %s is refused", async (_what, body, headers, status, error) => {
    const response = await post(body, headers);
    expect([response.status, await response.json()]).toEqual([status, { error }]);
  });

  test("what is not there is 404, what cannot be read is 400", async () => {
    expect((await ask("/api/notices/999999")).status).toBe(404);
    expect((await ask("/api/nothing")).status).toBe(404);
    expect((await ask("/api/notices?before=yesterday")).status).toBe(400);
  });
});

describe("the live feed", () => {
  test("what came since the page was made is sent first, then what comes", async () => {
    const page = await (await ask("/")).text();
    const since = /data-since="(\d+)"/.exec(page)![1]!;
    await ask("/notices", { method: "POST", headers: { cookie }, body: notice({ title: "In between" }) });
    const abort = new AbortController();
    const response = await fetch(`${server.url}/live?since=${since}`, { signal: abort.signal });
    expect(response.headers.get("content-type")).toBe("text/event-stream");
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader();
    let text = "";
    const until = async (pattern: RegExp): Promise<void> => {
      while (!pattern.test(text)) text += (await reader.read()).value ?? "";
    };
    await until(/In between/);
    await ask("/notices", { method: "POST", headers: { cookie }, body: notice({ title: "Live & loud" }) });
    await until(/Live &amp; loud/);
    expect(text).toMatch(/^retry: 1000\n\nid: \d+\nevent: notice\ndata: \{"id":\d+,"html":"<article /);
    abort.abort();
    // A browser that was cut off says what it had last.
    const last = [...text.matchAll(/^id: (\d+)$/gm)].at(-2)![1]!;
    const again = new AbortController();
    const resumed = await fetch(`${server.url}/live?since=0`, {
      signal: again.signal,
      headers: { "last-event-id": last },
    });
    const rest = resumed.body!.pipeThrough(new TextDecoderStream()).getReader();
    text = "";
    while (!text.includes("Live &amp; loud")) text += (await rest.read()).value ?? "";
    expect(text).not.toContain("In between");
    again.abort();
  });
});

describe("the chat", () => {
  const open = (headers: Record<string, string>): WebSocket =>
    new WebSocket(`${server.url.replace("http", "ws")}/chat/socket`, { headers: { origin: server.url, ...headers } });
  /** Messages as they come; the queue is filled from the first moment. */
  function listen(socket: WebSocket): () => Promise<{ author?: string; text?: string; problem?: string }> {
    const waiting: string[] = [];
    socket.on("message", (data: Buffer) => {
      waiting.push(data.toString());
      socket.emit("queued");
    });
    return async () => {
      while (waiting.length === 0) await once(socket, "queued");
      return JSON.parse(waiting.shift()!);
    };
  }

  test("what one says all hear, and who comes later too", async () => {
    const [ada, guest] = [open({ cookie }), open({})];
    const hear = [listen(ada), listen(guest)];
    await Promise.all([once(ada, "open"), once(guest, "open")]);
    ada.send(JSON.stringify({ text: "  hello <b>  " }));
    for (const next of hear) expect(await next()).toMatchObject({ author: "ada", text: "hello <b>" });
    const late = open({});
    expect(await listen(late)()).toMatchObject({ author: "ada", text: "hello <b>" });
    for (const socket of [ada, guest, late]) socket.close();
  });

  test("guests may listen, not speak; nonsense is refused", async () => {
    const guest = open({});
    const next = listen(guest);
    await once(guest, "open");
    guest.send(JSON.stringify({ text: "let me in" }));
    let heard = await next();
    while (heard.problem === undefined) heard = await next(); // the history comes first
    expect(heard.problem).toBe("Log in to say something.");
    guest.close();
    const ada = open({ cookie });
    const answer = listen(ada);
    await once(ada, "open");
    for (const nonsense of ["{", "{}", '{"text":"   "}', JSON.stringify({ text: "x".repeat(1_001) })]) {
      ada.send(nonsense);
      heard = await answer();
      while (heard.problem === undefined) heard = await answer();
      expect(heard.problem).toMatch(/^A message is/);
    }
    ada.close();
  });

  test("a page of another site cannot open it with a visitor's cookie", async () => {
    const socket = open({ cookie, origin: "https://evil.example" });
    const [, response] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number }];
    expect(response.statusCode).toBe(403);
    socket.on("error", () => {});
    socket.terminate();
  });

  test("there is no other WebSocket", async () => {
    const socket = new WebSocket(`${server.url.replace("http", "ws")}/live`);
    const [, response] = (await once(socket, "unexpected-response")) as [unknown, { statusCode: number }];
    expect(response.statusCode).toBe(404);
    socket.on("error", () => {});
    socket.terminate();
  });
});
