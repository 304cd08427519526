/** What a value should have been, in words for a person. */
import type * as z from "zod";

/** zod's own words, but for unions, where it has only "Invalid input", and for words of its own trade. */
export function expectation(issue: z.core.$ZodIssue): string {
  if (issue.code === "invalid_union") {
    const branches = issue.errors.map((branch) => (branch[0] === undefined ? "" : expectation(branch[0])));
    return [...new Set(branches.filter((text) => text !== ""))]
      .join(", or ")
      .replaceAll(/, received \w+|(?<=or )expected /g, "");
  }
  return issue.message
    .replace(/^Invalid (input|option): /, "")
    .replace(/^Too (?:small|big): expected \w+ to be (.*)$/, "must be $1")
    .replace("have >=1 characters", "not be empty");
}
