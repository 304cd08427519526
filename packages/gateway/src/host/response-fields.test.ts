import { expect, test } from "vitest";
import { checkFields } from "./fields.ts";

test("connection-level fields of a Response are dropped, those of a record refused (T5.2.4)", () => {
  const headers = new Headers({
    connection: "keep-alive",
    "transfer-encoding": "chunked",
    "keep-alive": "1",
    "x-a": "b",
  });
  expect(checkFields(headers, true).list).toEqual(["x-a", "b"]);
  expect(() => checkFields({ "Transfer-Encoding": "chunked" })).toThrow("belongs to the connection");
  expect(() => checkFields(new Headers({ upgrade: "h2c" }), true)).toThrow("belongs to the connection");
});
