/** Whole numbers. */
import { z } from "zod";

/** A whole number, at least `minimum`. */
export const count = (minimum = 0): z.ZodNumber => z.number().int().min(minimum);
