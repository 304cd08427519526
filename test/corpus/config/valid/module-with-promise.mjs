export default Promise.resolve({ sites: [{ hosts: ["*"], routes: [{ path: "/*", respond: { body: "hi" } }] }] });
