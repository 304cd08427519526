import { expect, test } from "vitest";
import { configurationSchema, referencePage } from "./reference.ts";

// Written anew with `vitest run -u`; a difference fails.
test("the reference page is what the schema says", () =>
  expect(referencePage()).toMatchFileSnapshot("../../../docs/reference/server.md"));
test("the JSON Schema is what the schema says", () =>
  expect(`${JSON.stringify(configurationSchema(), null, 2)}\n`).toMatchFileSnapshot("../schema.json"));
