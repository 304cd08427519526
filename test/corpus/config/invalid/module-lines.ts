// A configuration as one writes it, with comments, templates and types.
interface Nothing {
  readonly nothing: never;
}

const port = 8080;

export default {
  /* { not: "this" } */
  listen: [`127.0.0.1:${port}`, { port: 70000 }],
  upstreams: {
    // "app": {
    app: { servers: ["http://127.0.0.1:3000"], ballance: "round-robin" },
  },
  sites: [
    {
      hosts: ["a.test"],
      routes: [
        { path: "/x", proxy: { upstream: "ap" } },
        {
          path: "/*",
          respond: { status: 99 },
        },
      ],
    },
  ],
} satisfies object & Partial<Nothing>;
