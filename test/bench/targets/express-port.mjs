// The Express application as one writes it for `node app.js`: it listens on the port that the environment names.
import app from "./express.mjs";

app.listen(Number(process.env.PORT), "127.0.0.1");
