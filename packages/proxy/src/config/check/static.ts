/** Routes that serve files. */
import { checkFields } from "./fields.ts";
import { type RouteCheck, list, record, text } from "./raw.ts";

const checkTryFiles: RouteCheck = (route, path, _config, found) => {
  const tries = list(record(route["static"])["tryFiles"]);
  tries.forEach((one, index) => {
    const value = text(one);
    if (value === undefined) return;
    const where = [...path, "static", "tryFiles", index];
    if (value.startsWith("=")) {
      if (!/^=[45]\d\d$/.test(value))
        found.push({ path: where, message: "must be a status from 400 to 599 after the equals sign", hint: '"=404"' });
      else if (index !== tries.length - 1) found.push({ path: where, message: "a status can only be the last" });
    } else if (!value.startsWith("/") && !value.startsWith("$path")) {
      found.push({ path: where, message: 'must begin with "/" or "$path"' });
    }
  });
};

export const checkStatic: RouteCheck = (route, path, config, found) => {
  checkTryFiles(route, path, config, found);
  checkFields(record(route["static"])["headers"], [...path, "static", "headers"], found);
};
