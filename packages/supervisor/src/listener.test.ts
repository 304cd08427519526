import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmod, link, lstat, rm, stat, writeFile } from "node:fs/promises";
import net from "node:net";
import { afterEach, describe, expect, test, vi } from "vitest";
import { bound, cleanUp, later, temporaryFolder } from "./fixtures/group.ts";
import { BoundListener } from "./listener.ts";
import { systemdDescriptors } from "./systemd.ts";

const root = process.getuid?.() === 0;

afterEach(async () => {
  vi.unstubAllGlobals();
  await cleanUp();
});

/** Runs a test with `net.BoundSocket` and, as on older Nodes, without. */
function onBothWays(name: string, run: () => Promise<void>): void {
  test(name, run);
  test(`${name} (without net.BoundSocket)`, async () => {
    const { BoundSocket } = net;
    Reflect.set(net, "BoundSocket", undefined);
    try {
      await run();
    } finally {
      Reflect.set(net, "BoundSocket", BoundSocket);
    }
  });
}

async function greet(listener: BoundListener): Promise<string> {
  const server = net.createServer((socket) => socket.end("hello"));
  await listener.serve(server);
  const { address } = listener;
  const socket =
    address.kind === "unix"
      ? net.connect(address.path)
      : net.connect(address.kind === "tcp" ? address.port : 0, "127.0.0.1");
  const [answer] = (await once(socket, "data")) as [Buffer];
  await new Promise((resolve) => server.close(resolve));
  return answer.toString();
}

describe("TCP", () => {
  onBothWays("binds, tells the port, and serves in this process", async () => {
    const listener = await bound("127.0.0.1:0");
    expect(listener.address).toMatchObject({ host: "127.0.0.1", port: expect.any(Number) });
    expect(listener.url).toMatch(/^http:\/\/127\.0\.0\.1:[1-9]\d*$/);
    expect(await greet(listener)).toBe("hello");
  });

  onBothWays("a name and every interface work", async () => {
    expect((await bound("localhost:0")).url).toMatch(/^http:\/\/localhost:[1-9]/);
    expect(await greet(await bound(":0"))).toBe("hello");
  });

  onBothWays("says what is wrong", async () => {
    const first = await bound("127.0.0.1:0");
    await first.serve(
      net
        .createServer()
        .on("error", () => {})
        .unref(),
    );
    const port = first.address.kind === "tcp" ? first.address.port : 0;
    await expect(BoundListener.bind(`127.0.0.1:${port}`)).rejects.toMatchObject({
      code: "address_in_use",
      message: `cannot listen on http://127.0.0.1:${port}: another process already listens there`,
    });
    await expect(BoundListener.bind("192.0.2.1:0")).rejects.toMatchObject({ code: "address_unavailable" });
    await expect(BoundListener.bind("no-such-host.invalid:0")).rejects.toMatchObject({ code: "host_unknown" });
  });

  test("waits for an address to become free when asked to", async () => {
    const server = net.createServer().listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as net.AddressInfo;
    const waiting = BoundListener.bind(`127.0.0.1:${port}`, { waitMs: 10_000 });
    server.close();
    await (await waiting).close();
  });
});

describe("unix sockets", () => {
  onBothWays("have their mode from the first moment, and vanish with close", async () => {
    const path = `${await temporaryFolder()}/app.sock`;
    const listener = await bound(`unix:${path}`);
    expect((await stat(path)).mode & 0o777).toBe(0o660);
    await listener.close();
    await expect(lstat(path)).rejects.toMatchObject({ code: "ENOENT" });
    const own = await bound(`unix:${path}`, { mode: 0o600, ...(root && { owner: { uid: 65_534, gid: 65_534 } }) });
    expect(await stat(path)).toMatchObject({ uid: root ? 65_534 : process.getuid?.() });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    expect(await greet(own)).toBe("hello");
  });

  onBothWays("a stale one is replaced, a live one is not", async () => {
    const path = `${await temporaryFolder()}/app.sock`;
    const server = net.createServer().listen(`${path}.first`);
    await once(server, "listening");
    await link(`${path}.first`, path);
    await expect(BoundListener.bind(`unix:${path}`)).rejects.toMatchObject({
      code: "address_in_use",
      message: expect.stringContaining("address in use by a running process"),
    });
    expect((await lstat(path)).isSocket()).toBe(true);
    await new Promise((resolve) => server.close(resolve));
    expect((await lstat(path)).isSocket()).toBe(true); // left behind, as by kill -9
    expect(await greet(await bound(`unix:${path}`))).toBe("hello");
  });

  test.runIf(process.platform === "linux")("one whose master is still loading its children is not stale", async () => {
    const path = `${await temporaryFolder()}/app.sock`;
    await bound(`unix:${path}`); // bound, nobody listens yet
    await expect(BoundListener.bind(`unix:${path}`)).rejects.toMatchObject({ code: "address_in_use" });
  });

  test("may be opened to others, and closed again, while they are in use", async () => {
    const path = `${await temporaryFolder()}/permit.sock`;
    const listener = await bound(`unix:${path}`, { mode: 0o600 });
    await listener.permit({ mode: 0o666 });
    expect((await stat(path)).mode & 0o777).toBe(0o666);
    await listener.permit({});
    expect((await stat(path)).mode & 0o777).toBe(0o660);
    await rm(path);
    await listener.permit({ mode: 0o666 }); // somebody took the path away: nothing to change
  });

  test("a file that is no socket is left alone", async () => {
    const path = `${await temporaryFolder()}/notes.txt`;
    await writeFile(path, "precious");
    await expect(BoundListener.bind(`unix:${path}`)).rejects.toMatchObject({
      code: "address_unavailable",
      message: expect.stringContaining("not a socket"),
    });
    expect((await lstat(path)).isFile()).toBe(true);
  });

  test("close leaves a path that has become somebody else's, and keepPath leaves its own", async () => {
    const path = `${await temporaryFolder()}/app.sock`;
    const listener = await bound(`unix:${path}`);
    await rm(path);
    await writeFile(path, "somebody else's");
    await listener.close();
    expect((await lstat(path)).isFile()).toBe(true);
    await rm(path);
    const kept = await bound(`unix:${path}`);
    await kept.close({ keepPath: true });
    expect((await lstat(path)).isSocket()).toBe(true);
  });

  test("a folder that is not there is named", async () => {
    await expect(BoundListener.bind(`unix:${await temporaryFolder()}/missing/app.sock`)).rejects.toMatchObject({
      code: "address_unavailable",
      message: expect.stringContaining("its directory does not exist"),
    });
  });

  test.skipIf(root)("a folder one may not write to is forbidden", async () => {
    const folder = await temporaryFolder();
    await chmod(folder, 0o500);
    await expect(BoundListener.bind(`unix:${folder}/app.sock`)).rejects.toMatchObject({ code: "address_forbidden" });
  });
});

describe("inherited sockets", () => {
  /** Runs a script with a listening socket as descriptor 3, and gives what it prints. */
  async function withDescriptor(script: string): Promise<string> {
    const listener = await bound("127.0.0.1:0");
    const child = spawn(
      "/bin/sh",
      [
        "-c",
        'LISTEN_PID=$$ exec "$0" "$@"',
        process.execPath,
        "--conditions=@portico/source",
        "--input-type=module",
        "-e",
        script,
      ],
      {
        stdio: ["ignore", "pipe", "inherit", listener.fd],
        env: { ...process.env, LISTEN_FDS: "1", LISTEN_FDNAMES: "web" },
      },
    );
    later(async () => void child.kill("SIGKILL"));
    let text = "";
    for await (const chunk of child.stdout ?? []) text += String(chunk);
    return text.trim().replaceAll(`:${listener.address.kind === "tcp" ? listener.address.port : 0}`, ":PORT");
  }
  const index = new URL("./index.ts", import.meta.url).href;

  test.each(["fd://3", "systemd:", "systemd:web"])("%s", async (address) => {
    const script = `import { BoundListener } from ${JSON.stringify(index)};
      const listener = await BoundListener.bind(${JSON.stringify(address)});
      console.log(listener.fd, listener.url); process.exit(0);`;
    expect(await withDescriptor(script)).toBe("3 http://127.0.0.1:PORT");
  });

  test("what was not passed is an error with a reason", async () => {
    await expect(BoundListener.bind("fd://999")).rejects.toMatchObject({ code: "descriptor_invalid" });
    await expect(BoundListener.bind("systemd:")).rejects.toMatchObject({
      code: "descriptor_invalid",
      message: expect.stringContaining("socket unit"),
    });
  });

  test("systemd's variables are read as sd_listen_fds(3) says", () => {
    const env = { LISTEN_PID: "42", LISTEN_FDS: "3", LISTEN_FDNAMES: "web:admin:web" };
    expect(systemdDescriptors(undefined, env, 42)).toEqual([3, 4, 5]);
    expect(systemdDescriptors("web", env, 42)).toEqual([3, 5]);
    expect(() => systemdDescriptors("api", env, 42)).toThrow("no socket of that name");
    expect(() => systemdDescriptors(undefined, env, 43)).toThrow("no sockets were passed");
  });
});
