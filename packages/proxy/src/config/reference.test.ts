import { describe, expect, it } from "vitest";
import { jsonSchema, referencePage } from "./reference.ts";

// Written anew with `vitest -u`; a difference fails.
describe("what is generated from the schema", () => {
  it("is the reference page", () => expect(referencePage()).toMatchFileSnapshot("../../../../docs/reference/proxy.md"));
  it("is the JSON Schema", () =>
    expect(`${JSON.stringify(jsonSchema(), null, 2)}\n`).toMatchFileSnapshot("../../schema.json"));
});
