/** How much the random suites try, and from which seed. */

/** `PORTICO_LONG=1`: as much as there is time for, instead of what fits a check. */
export const LONG = process.env["PORTICO_LONG"] === "1";

/** `PORTICO_SEED` repeats a run. */
export const SEED = Number(process.env["PORTICO_SEED"] ?? Date.now() % 1_000_000);
