/** Places of keys in a YAML (or JSON) document. */
import { type ParsedNode, isMap, isScalar, isSeq } from "yaml";
import type { KeyPath } from "./problems.ts";

/** The node of a path's last key that exists, and the offset where its key begins. */
export function offsetOf(root: ParsedNode | null, path: KeyPath): number | undefined {
  let node: unknown = root;
  let offset = root?.range?.[0];
  for (const key of path) {
    if (isMap(node)) {
      const pair = node.items.find((item) => isScalar(item.key) && String(item.key.value) === String(key));
      if (pair === undefined) return offset;
      if (isScalar(pair.key)) offset = pair.key.range?.[0] ?? offset;
      node = pair.value;
    } else if (isSeq(node) && typeof key === "number") {
      node = node.items[key];
      if (typeof node !== "object" || node === null) return offset;
      offset = (node as ParsedNode).range?.[0] ?? offset;
    } else {
      return offset;
    }
  }
  return offset;
}
