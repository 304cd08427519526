const routes = ["/a", "/b"].map((path) => ({ path, respnd: {} }));
const config = { sites: [{ hosts: ["*"], routes }] };
config.lisen = 80;
export default config;
