/** The demo as people meet it: a real browser, both tiers, two workers, some of which die meanwhile. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type Browser, type BrowserContext, chromium, type Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Command } from "../support/command.ts";
import { png } from "../support/png.ts";
import { Playground, workersOf } from "../support/stack.ts";

/** Where distributions put it; CHROMIUM names another place. */
const PLACES = ["/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome", "/snap/bin/chromium"];
const executablePath = process.env["CHROMIUM"] ?? PLACES.find((path) => existsSync(path));
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];
/** A busy machine renders slowly; nothing here waits so long when all is well. */
const PATIENCE_MS = 20_000;

if (executablePath === undefined)
  console.warn(
    "demo-browser: skipped, there is no Chromium on this machine (install chromium, or name it in CHROMIUM)",
  );

describe.skipIf(executablePath === undefined)("the demo in Chromium", { timeout: 90_000 }, () => {
  const playground = new Playground();
  const data = mkdtempSync(join(tmpdir(), "portico-demo-"));
  let command: Command;
  let url: string;
  let browser: Browser;
  /** What a browser complained about, by page; what a test expects it takes out. */
  const complaints: string[] = [];

  beforeAll(async () => {
    command = new Command("demo", [], { env: { ...playground.env, PORT: "0", WORKERS: "2", DEMO_DATA: data } });
    url = (await command.printed(/^portico: ready on (http:\S+)/m))[1]!;
    browser = await chromium.launch({ executablePath: executablePath!, args: FLAGS });
  });
  afterAll(async () => {
    await browser?.close();
    await command?.[Symbol.asyncDispose]();
    playground[Symbol.dispose]();
    rmSync(data, { recursive: true, force: true });
  });

  /** A window of its own: other cookies, other cache. */
  async function openWindow(options: Parameters<Browser["newContext"]>[0] = {}): Promise<Page> {
    const context: BrowserContext = await browser.newContext(options);
    context.setDefaultTimeout(PATIENCE_MS);
    const page = await context.newPage();
    page.on("console", (message) => {
      if (message.type() === "error" || message.type() === "warning")
        complaints.push(`${page.url()}: ${message.text()}`);
    });
    page.on("pageerror", (error) => complaints.push(`${page.url()}: ${error.message}`));
    return page;
  }

  async function register(page: Page, name: string): Promise<void> {
    await page.goto(`${url}/register`);
    await page.getByLabel("Name").fill(name);
    await page.getByLabel("Password").fill("correct horse");
    await page.getByRole("button", { name: "Register" }).click();
    await page.getByText(name, { exact: true }).waitFor();
  }

  const live = (page: Page): Promise<void> => page.locator(".live.on").waitFor();

  /** Everything served without a complaint: no script error, no violation of the policy, nothing absent. */
  function noComplaints(): void {
    expect(complaints.splice(0)).toEqual([]);
  }

  test("register, post with a picture, and a second window sees it live", async () => {
    const [ada, other] = [await openWindow(), await openWindow()];
    await other.goto(url);
    await other.getByText("Nothing on the board yet.").waitFor();
    await live(other);
    await register(ada, "ada");
    await ada.getByLabel("Title").fill("Bicycle <b>to give away</b>");
    await ada.getByLabel("Text").fill("Green, three gears.");
    await ada.getByLabel("Picture").setInputFiles({ name: "b.png", mimeType: "image/png", buffer: png(320, 200) });
    await ada.getByRole("button", { name: "Put it up" }).click();
    for (const page of [ada, other]) {
      const notice = page.locator(".notice").filter({ hasText: "Bicycle <b>to give away</b>" });
      await notice.getByText("Green, three gears.").waitFor();
      await expect
        .poll(() => notice.locator("img").evaluate((image) => (image as { naturalWidth?: number }).naturalWidth))
        .toBe(320);
      expect(await notice.count()).toBe(1);
    }
    // Taken down by its author, and only by her.
    expect(await other.getByRole("button", { name: "Remove" }).isVisible()).toBe(false);
    await ada.getByRole("button", { name: "Remove" }).click();
    await other.locator(".notice").waitFor({ state: "detached" });
    noComplaints();
    await Promise.all([ada, other].map((page) => page.context().close()));
  });

  test("a file that is no picture is refused in words, and the form keeps what was written", async () => {
    const page = await openWindow();
    await register(page, "grace");
    await page.getByLabel("Title").fill("Choir");
    await page
      .getByLabel("Picture")
      .setInputFiles({ name: "b.png", mimeType: "image/png", buffer: Buffer.from("<html>") });
    await page.getByRole("button", { name: "Put it up" }).click();
    await page.getByRole("alert").getByText("A picture is a PNG, JPEG, GIF or WebP file.").waitFor();
    expect(await page.getByLabel("Title").inputValue()).toBe("Choir");
    expect(complaints.splice(0)).toEqual([expect.stringContaining("400 (Bad Request)")]);
    await page.context().close();
  });

  test("two windows chat", async () => {
    const [ada, bob] = [await openWindow(), await openWindow()];
    await register(ada, "ada2");
    await register(bob, "bob");
    for (const page of [ada, bob]) {
      await page.goto(`${url}/chat`);
      await live(page);
    }
    await say(ada, "Is the bicycle still there?");
    await bob.locator("#messages li", { hasText: "ada2" }).getByText("Is the bicycle still there?").waitFor();
    await say(bob, "<i>Yes</i>");
    await ada.locator("#messages li").getByText("<i>Yes</i>").waitFor();
    noComplaints();
    await Promise.all([ada, bob].map((page) => page.context().close()));
  });

  test("/stack shows the thread, the link and the worker", async () => {
    const page = await openWindow();
    await page.goto(`${url}/stack`);
    expect(await page.locator(".step b").allInnerTexts()).toEqual([
      "client",
      "proxy",
      "link",
      expect.stringMatching(/^worker [12] of 2$/),
    ]);
    expect(await page.locator(".step").nth(1).innerText()).toMatch(/^proxy\nthread \d+$/);
    const pid = Number(/process (\d+)/.exec(await page.locator(".step").last().innerText())![1]);
    expect(workersOf(command.pid)).toContain(pid);
    noComplaints();
    await page.context().close();
  });

  test("kill -9 of each worker in turn: pages are answered all the time, feed and chat come back by themselves", async () => {
    const [board, chat, poster] = [await openWindow(), await openWindow(), await openWindow()];
    await register(chat, "carol");
    await register(poster, "dave");
    await board.goto(url);
    await chat.goto(`${url}/chat`);
    await live(board);
    await live(chat);
    const before = workersOf(command.pid);
    for (const [turn, victim] of before.slice().entries()) {
      process.kill(victim, "SIGKILL");
      for (let tries = 0; tries < 10; tries++) {
        const answer = await fetch(`${url}/stack`);
        expect(answer.status, `${await answer.text()}\n${command.output}`).toBe(200);
      }
      await poster.goto(url);
      await poster.getByLabel("Title").fill(`Posted after ${turn + 1}`);
      await poster.getByRole("button", { name: "Put it up" }).click();
      // Without a reload of the page: the stream was cut or not, what happened meanwhile is there.
      await board.locator(".notice", { hasText: `Posted after ${turn + 1}` }).waitFor();
      await live(chat);
      await say(chat, `still here ${turn + 1}`);
      await chat.locator("#messages li", { hasText: `still here ${turn + 1}` }).waitFor();
      // The next one is killed when its successor serves: one worker at least is there all the time.
      const successor = (pid: number): boolean => pid !== victim && !before.includes(pid);
      let pid = victim;
      for (const end = Date.now() + PATIENCE_MS; !successor(pid) && Date.now() < end;) pid = await servedBy();
      expect(successor(pid), `${pid} of ${workersOf(command.pid).join(", ")}\n${command.output}`).toBe(true);
      before.push(...workersOf(command.pid));
    }
    expect(await board.locator(".notice", { hasText: "Posted after" }).count()).toBe(2);
    expect(complaints.splice(0).filter((text) => !/net::ERR_|WebSocket connection|50[234]/.test(text))).toEqual([]);
    await Promise.all([board, chat, poster].map((page) => page.context().close()));
  });

  test.each(["light", "dark"] as const)("at 400 pixels, %s: nothing sticks out to the side", async (colorScheme) => {
    const page = await openWindow({ viewport: { width: 400, height: 800 }, colorScheme });
    await register(page, `long-name-of-30-letters-${colorScheme}`);
    await page.getByLabel("Title").fill("Donaudampfschifffahrtselektrizitätenhauptbetriebswerk");
    await page.getByLabel("Text").fill(`https://example.com/${"a".repeat(300)}`);
    await page.getByRole("button", { name: "Put it up" }).click();
    await page.locator(".notice").first().waitFor();
    for (const path of ["/", "/chat", "/stack", "/login", "/nothing"]) {
      await page.goto(url + path);
      const tooWide = await page.evaluate<number>("document.documentElement.scrollWidth - innerWidth");
      expect(tooWide, path).toBeLessThanOrEqual(0);
    }
    complaints.splice(0); // of the page that is not there
    await page.context().close();
  });

  test("a hashed asset: from the front, kept for ever, in ranges", async () => {
    const html = await (await fetch(url)).text();
    const path = /href="(\/assets\/style\.[0-9a-f]{10}\.css)"/.exec(html)![1]!;
    const curl = async (...args: string[]): Promise<string> =>
      (await promisify(execFile)("curl", ["-sS", "--max-time", "10", ...args, url + path])).stdout;
    const whole = await curl();
    const head = (await curl("-I")).toLowerCase();
    expect(head).toMatch(/^http\/1\.1 200 /);
    expect(head).toContain("content-type: text/css");
    expect(head).toContain("cache-control: public, max-age=31536000, immutable");
    expect(head).toContain("accept-ranges: bytes");
    // The application marks everything it answers; this never came to it.
    expect(head).not.toContain("content-security-policy");
    const part = await curl("-i", "--range", "5-14");
    expect(part.toLowerCase()).toMatch(/^http\/1\.1 206 /);
    expect(part.split("\r\n\r\n")[1]).toBe(whole.slice(5, 15));
  });

  test("Ctrl-C with windows open: quick, in order, nothing left", async () => {
    const page = await openWindow();
    await page.goto(`${url}/chat`);
    await live(page);
    const from = command.output.length;
    const began = performance.now();
    expect(await command.stop("SIGINT")).toEqual({ code: 0, signal: null });
    expect(performance.now() - began).toBeLessThan(5_000);
    expect(command.output.slice(from)).toBe("");
    expect(playground.leftovers()).toEqual([]);
  });

  /** Process id of the worker that answers a request. */
  async function servedBy(): Promise<number> {
    const { way } = (await (await fetch(`${url}/stack.json`)).json()) as { way: { detail: string }[] };
    return Number(/process (\d+)/.exec(way.at(-1)!.detail)![1]);
  }

  async function say(page: Page, text: string): Promise<void> {
    await page.getByPlaceholder("Say something").fill(text);
    await page.getByRole("button", { name: "Send" }).click();
  }
});

test("the demo says in one message that its port is taken", async () => {
  const blocker = createServer().listen(0, "127.0.0.1");
  await once(blocker, "listening");
  const { port } = blocker.address() as { port: number };
  using playground = new Playground();
  const demo = new Command("demo", [], {
    env: { ...playground.env, PORT: String(port), DEMO_DATA: playground.path("data") },
  });
  expect(await demo.exited).toEqual({ code: 5, signal: null });
  blocker.close();
  expect(demo.output).toBe(
    `portico: cannot listen on http://127.0.0.1:${port}: another process already listens there\n`,
  );
  expect(playground.leftovers()).toEqual([]);
});
