// The peer's application: node:http on the unix socket named on the command line.
import { createServer } from "node:http";

const body = "Hello from the application, exactly fifty bytes.\n\n";
createServer((request, response) => {
  response.writeHead(200, { "content-type": "text/plain", "content-length": body.length });
  response.end(body);
}).listen(process.argv[2]);
