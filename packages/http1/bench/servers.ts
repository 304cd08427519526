import { createServer as createHttpServer } from "node:http";
import { createServer } from "node:net";
import { HttpListener } from "../src/socket.ts";

// One server of the comparison: `ours` or `node`, on the port given. Both answer the same small JSON body.
const [kind = "ours", port = "0"] = process.argv.slice(2);
const body = JSON.stringify({ message: "x".repeat(1000) });
const length = String(Buffer.byteLength(body));

if (kind === "ours") {
  const listener = new HttpListener(
    (exchange) => exchange.respond(200, ["Content-Type", "application/json"], body),
    {},
  );
  const server = createServer({ allowHalfOpen: true }, (socket) => listener.attach(socket));
  server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
} else {
  const server = createHttpServer((_request, response) => {
    response.writeHead(200, { "Content-Type": "application/json", "Content-Length": length });
    response.end(body);
  });
  server.listen(Number(port), "127.0.0.1", () => console.log("ready"));
}
process.once("SIGINT", () => process.exit());
