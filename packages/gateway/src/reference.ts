import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import type { Application } from "./application.ts";
import { createHost, type Host, type HostOptions } from "./host.ts";
import { feedOf } from "./reference/feed.ts";

export interface ReferenceOptions extends HostOptions {
  /** Default 0: any free port. */
  readonly port?: number;
  /** Address to listen on. Default 127.0.0.1. */
  readonly host?: string;
  /** Milliseconds that `close` waits for what is under way before it aborts it. Default 5,000. */
  readonly grace?: number;
}

/** Default of {@link ReferenceOptions.grace}: longer than an ordinary request takes, shorter than a developer waits. */
const GRACE_MS = 5_000;

export interface ReferenceServer {
  readonly address: AddressInfo;
  readonly url: string;
  readonly host: Host;
  /** Finishes what is under way within the grace, aborts the rest with Shutdown, runs `lifespan.shutdown`, and closes. */
  close(): Promise<void>;
}

/**
 * The smallest server that runs TSGI applications: `node:http` underneath, no proxies trusted, one process. For tests, for
 * development, and to show that the interface needs nothing of ours. Rejects when startup fails or the port is taken.
 *
 * @example
 * const server = await serveReference(() => ({ body: "Hello" }), { port: 3000 });
 */
export async function serveReference<State>(
  application: Application<State>,
  options: ReferenceOptions = {},
): Promise<ReferenceServer> {
  const host = await createHost(application, options);
  await host.startup();
  const server = createServer();
  const feed = feedOf(host);
  server.on("request", feed.request);
  server.on("checkContinue", feed.checkContinue);
  server.on("upgrade", feed.upgrade);
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(options.port ?? 0, options.host ?? "127.0.0.1", resolve);
  });
  const address = server.address() as AddressInfo;
  const name = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return {
    address,
    url: `http://${name}:${address.port}`,
    host,
    async close(): Promise<void> {
      const closed = new Promise<void>((resolve) => {
        server.close(() => resolve());
      });
      server.closeIdleConnections();
      const patience = setTimeout(() => {
        host.interrupt();
        // One turn for the application to say what it has to say to its clients.
        setImmediate(() => server.closeAllConnections());
      }, options.grace ?? GRACE_MS);
      await host.idle();
      clearTimeout(patience);
      server.closeAllConnections();
      await closed;
      await host.shutdown();
    },
  };
}
