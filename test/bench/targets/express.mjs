import express from "express";

const app = express();
app.get("/", (request, response) => {
  response.type("text/plain").send("Hello from the application, exactly fifty bytes.\n\n");
});

export default app;
