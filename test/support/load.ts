/** Requests as fast as answers come, until stopped. */

export interface LoadResult {
  /** What went wrong, one entry a request. */
  readonly failures: string[];
  readonly answered: number;
}

/**
 * @param client makes one client; its requests resolve with what is wrong with the answer, or ""
 * @param clients how many ask at once
 */
export function stream(client: () => () => Promise<string>, clients: number): { stop(): Promise<LoadResult> } {
  const failures: string[] = [];
  let answered = 0;
  const load = { on: true };
  const loops = Array.from({ length: clients }, async () => {
    const ask = client();
    while (load.on) {
      try {
        const wrong = await ask();
        if (wrong === "") answered++;
        else failures.push(wrong);
      } catch (error) {
        failures.push(String(error));
      }
    }
  });
  return {
    async stop() {
      load.on = false;
      await Promise.all(loops);
      return { failures, answered };
    },
  };
}
