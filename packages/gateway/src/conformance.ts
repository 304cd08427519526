import { afterCases } from "./conformance/after-cases.ts";
import { applicationCases } from "./conformance/application-cases.ts";
import type { ConformanceCase, ConformanceTarget } from "./conformance/case.ts";
import { contextCases } from "./conformance/context-cases.ts";
import { frontCases } from "./conformance/front-cases.ts";
import { requestCases } from "./conformance/request-cases.ts";
import { responseCases } from "./conformance/response-cases.ts";

export { conformanceApplication } from "./conformance/application.ts";
export type { ConformanceCase, ConformanceTarget } from "./conformance/case.ts";

/**
 * Every observable MUST of docs/spec/tsgi.md as a case, in the order of the document. Independent of any test runner.
 *
 * @example
 * const server = await serveReference(conformanceApplication);
 * for (const { id, title, run } of conformanceCases) test(`${id} ${title}`, () => run({ url: server.url }));
 */
export const conformanceCases: readonly ConformanceCase[] = [
  ...applicationCases,
  ...contextCases,
  ...requestCases,
  ...responseCases,
  ...frontCases,
  ...afterCases,
];

/** How one case went: `error` is undefined where the server conforms. */
export interface ConformanceResult {
  readonly id: string;
  readonly title: string;
  readonly error: unknown;
}

/** Runs all cases one after another; `behindFront` leaves out those that hold only where nothing is in between. */
export async function runConformance(
  target: ConformanceTarget,
  options: { readonly behindFront?: boolean } = {},
): Promise<ConformanceResult[]> {
  const results: ConformanceResult[] = [];
  for (const { id, title, direct, run } of conformanceCases) {
    if (direct && options.behindFront === true) continue;
    const error: unknown = await run(target).then(
      () => undefined,
      (failure: unknown) => failure,
    );
    results.push({ id, title, error });
  }
  return results;
}
