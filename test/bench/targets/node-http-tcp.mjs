// The peer of the idle connections: node:http on the port named on the command line, with keep-alive of minutes.
import { createServer } from "node:http";

const body = "Hello from the application, exactly fifty bytes.\n\n";
createServer({ keepAliveTimeout: 300_000 }, (request, response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": body.length });
  response.end(body);
}).listen({ port: Number(process.argv[2]), host: "127.0.0.1", backlog: 4_096 });
