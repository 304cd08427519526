/** The reference page and the JSON Schema of the configuration, from its schema. */
import { z } from "zod";
import { configSchema } from "./schema.ts";

/** The parts of JSON Schema that ours uses. */
interface Node {
  readonly $ref?: string;
  readonly type?: string;
  readonly title?: string;
  readonly description?: string;
  readonly default?: unknown;
  readonly const?: unknown;
  readonly enum?: readonly unknown[];
  readonly anyOf?: readonly Node[];
  readonly items?: Node;
  readonly properties?: Readonly<Record<string, Node>>;
  readonly required?: readonly string[];
  readonly additionalProperties?: Node | boolean;
}

/** JSON Schema (2020-12) of a configuration as one writes it, for editors. */
export function jsonSchema(): Record<string, unknown> {
  return { ...z.toJSONSchema(configSchema, { io: "input" }), title: "Portico proxy configuration" };
}

const TYPE_WORDS: Readonly<Record<string, string>> = { string: "text", integer: "whole number" };

function typeOf(node: Node): string {
  if (node.$ref !== undefined) return node.$ref.slice(node.$ref.lastIndexOf("/") + 1);
  if (node.const !== undefined) return `\`${JSON.stringify(node.const)}\``;
  if (node.enum !== undefined) return node.enum.map((value) => `\`${JSON.stringify(value)}\``).join(", ");
  if (node.anyOf !== undefined) return node.anyOf.map(typeOf).join(" or ");
  if (node.type === "array") return `list of ${typeOf(node.items ?? {})}`;
  if (node.type === "object" && typeof node.additionalProperties === "object")
    return `${typeOf(node.additionalProperties)} by name`;
  return TYPE_WORDS[node.type ?? ""] ?? node.type ?? "any";
}

const cell = (text: string): string => text.replaceAll("|", "\\|").replaceAll("\n", " ");

function defaultOf(node: Node, required: boolean): string {
  if (required) return "required";
  // A group of settings has its defaults in its own table.
  if (node.default === undefined || (node.type === "object" && JSON.stringify(node.default) === "{}")) return "";
  return `\`${JSON.stringify(node.default)}\``;
}

/** The objects below a setting, each with the path it is written under. */
function objectsIn(node: Node, path: string): [string, Node][] {
  if (node.anyOf !== undefined) return node.anyOf.flatMap((one) => objectsIn(one, path));
  if (node.items !== undefined) return objectsIn(node.items, `${path}[]`);
  if (typeof node.additionalProperties === "object") return objectsIn(node.additionalProperties, `${path}.NAME`);
  return node.properties === undefined ? [] : [[path, node]];
}

function section(path: string, node: Node): string[] {
  const properties = Object.entries(node.properties ?? {});
  const rows = properties.map(([name, child]) => {
    const standard = defaultOf(child, node.required?.includes(name) === true);
    return `| \`${name}\` | ${cell(typeOf(child))} | ${cell(standard)} | ${cell(child.description ?? "")} |`;
  });
  const heading = path === "" ? [] : [`## \`${path}\``, ""];
  const own = [...heading, "| setting | type | default | |", "| --- | --- | --- | --- |", ...rows, ""];
  return [
    ...own,
    ...properties.flatMap(([name, child]) =>
      objectsIn(child, path === "" ? name : `${path}.${name}`).flatMap(([where, object]) => section(where, object)),
    ),
  ];
}

const INTRODUCTION = `# Configuration of the proxy

Every setting of \`portico.config.ts\` (\`.js\`, \`.mjs\`, \`.json\`, \`.yaml\`). This page is generated from the schema that also validates the file. For editors there is [a JSON Schema](../../packages/proxy/schema.json), published as \`@portico/proxy/schema.json\`.

- A *duration* is a number with \`ms\`, \`s\`, \`m\`, \`h\` or \`d\`, such as \`"5s"\`, or milliseconds.
- A *size* is a number with \`B\`, \`KiB\`, \`MiB\`, \`GiB\` or \`TiB\`, such as \`"10MiB"\`, or bytes.
- Paths are relative to the configuration file.
- Unknown settings are errors. \`portico-proxy check\` names every mistake at once, with its line and the nearest known name.
`;

/** The reference page, Markdown. */
export function referencePage(): string {
  return [INTRODUCTION, ...section("", jsonSchema())].join("\n");
}
