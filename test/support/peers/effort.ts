/** How much the random suites try, and from which seed. */

/** `PORTICO_LONG=1`: as much as there is time for, instead of what fits a check. */
export const LONG = process.env["PORTICO_LONG"] === "1";

/** Of the checks: the same tree gets the same verdict each time. New cases are for the long runs to find. */
const FIXED_SEED = 441_072;

/** `PORTICO_SEED` repeats a run, or tries another. */
export const SEED = Number(process.env["PORTICO_SEED"] ?? (LONG ? Date.now() % 1_000_000 : FIXED_SEED));
