// The same Express application on node:http, on the unix socket named on the command line.
import app from "./express.mjs";

app.listen(process.argv[2]);
