/** Fields that a `proxy` route changes. */
import { checkFields } from "./fields.ts";
import { type RouteCheck, list, record, text } from "./raw.ts";
import { checkVariables } from "./rewrite.ts";

const EDITS = ["requestHeaders", "responseHeaders"] as const;

export const checkEdits: RouteCheck = (route, path, _config, found) => {
  for (const name of EDITS) {
    const edits = record(record(route["proxy"])[name]);
    const where = [...path, "proxy", name];
    for (const kind of ["set", "add"]) {
      checkFields(edits[kind], [...where, kind], found);
      if (name === "responseHeaders") continue;
      for (const [field, value] of Object.entries(record(edits[kind])))
        checkVariables(value, "", [...where, kind, field], found);
    }
    // A record says of each name whether it can be changed at all.
    list(edits["remove"]).forEach((field, index) => {
      const problems: typeof found = [];
      checkFields({ [text(field) ?? "x"]: "" }, [], problems);
      for (const { message } of problems)
        found.push({ path: [...where, "remove", index], message: message.replace("set", "removed") });
    });
  }
};
