/** Upstreams, and the routes that name them. */
import { nearest } from "@portico/supervisor/nearest";
import { type ConfigCheck, type RouteCheck, list, record, text } from "./raw.ts";

/** Environment variable of the secret, the server's too. */
export const LINK_SECRET_VARIABLE = "PORTICO_LINK_SECRET";

export const checkUpstreamName: RouteCheck = (route, path, config, found) => {
  const known = Object.keys(record(config["upstreams"]));
  const name = text(record(route["proxy"])["upstream"]);
  if (name === undefined || known.includes(name)) return;
  const near = nearest(name, known);
  const hint =
    near !== undefined
      ? `did you mean "${near}"?`
      : known.length === 0
        ? "`upstreams` is empty"
        : `there are: ${known.join(", ")}`;
  found.push({ path: [...path, "proxy", "upstream"], message: `there is no upstream "${name}"`, hint });
};

/** A link over the network must be proved with a secret by both ends; on a unix socket the file's mode does it. */
export const checkLinkSecret: ConfigCheck = (config, found) => {
  if (config["linkSecret"] !== undefined || config["linkSecretFile"] !== undefined || process.env[LINK_SECRET_VARIABLE])
    return;
  for (const [name, upstream] of Object.entries(record(config["upstreams"]))) {
    list(record(upstream)["servers"]).forEach((server, index) => {
      const address = text(server) ?? text(record(server)["address"]);
      if (address?.startsWith("link://") !== true) return;
      found.push({
        path: ["upstreams", name, "servers", index],
        message: "a link over TCP needs a shared secret",
        hint: `set \`linkSecretFile\` or ${LINK_SECRET_VARIABLE}`,
      });
    });
  }
};
