/** Upstreams, and the routes that name them. */
import { nearest } from "@portico/supervisor/nearest";
import type { Finding, KeyPath } from "../problems.ts";
import { type ConfigCheck, type RouteCheck, list, record, text } from "./raw.ts";

/** Environment variable of the secret, the server's too. */
export const LINK_SECRET_VARIABLE = "PORTICO_LINK_SECRET";

function checkName(name: string | undefined, path: KeyPath, known: readonly string[], found: Finding[]): void {
  if (name === undefined || known.includes(name)) return;
  const near = nearest(name, known);
  const hint =
    near !== undefined
      ? `did you mean "${near}"?`
      : known.length === 0
        ? "`upstreams` is empty"
        : `there are: ${known.join(", ")}`;
  found.push({ path, message: `there is no upstream "${name}"`, hint });
}

/** Every upstream that a `proxy` route names. */
export const checkUpstreamNames: RouteCheck = (route, path, config, found) => {
  if (route["proxy"] === undefined) return;
  const known = Object.keys(record(config["upstreams"]));
  const { upstream, split, mirror } = record(route["proxy"]);
  const where = [...path, "proxy"];
  checkName(text(upstream), [...where, "upstream"], known, found);
  checkName(text(record(mirror)["upstream"]), [...where, "mirror", "upstream"], known, found);
  if (upstream === undefined && split === undefined)
    found.push({ path: [...where, "upstream"], message: "is missing", hint: "or `split`" });
  if (upstream !== undefined && split !== undefined)
    found.push({ path: where, message: "must have only one of `upstream`, `split`" });
  if (split === undefined) return;
  const shares = record(record(split)["upstreams"]);
  for (const name of Object.keys(shares)) checkName(name, [...where, "split", "upstreams", name], known, found);
  const weights = Object.values(shares);
  if (record(split)["upstreams"] !== undefined && !weights.some((weight) => typeof weight !== "number" || weight > 0))
    found.push({ path: [...where, "split", "upstreams"], message: "must have at least one share above 0" });
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
