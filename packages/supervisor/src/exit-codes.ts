/**
 * What our commands exit with: one table for all of them. 3 and 4 are gunicorn's; shells and service managers read the
 * rest as they always do (0 done, 1 failed, 2 not understood).
 */
export const EXIT = {
  /** Done, or stopped as asked. */
  ok: 0,
  /** It could not be done. */
  failed: 1,
  /** The command line or the configuration is wrong. */
  usage: 2,
  /** No child became ready. */
  boot: 3,
  /** The application could not be loaded. */
  load: 4,
  /** An address is in use, or may not be bound. */
  bind: 5,
} as const;
