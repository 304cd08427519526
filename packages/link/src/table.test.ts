import * as fc from "fast-check";
import { expect, test } from "vitest";
import { StreamTable } from "./table.ts";

test("a table does what a Map does, whatever is added and deleted", () => {
  // Arbitrary ids collide where consecutive ones would not; few of them, so that what is deleted was there.
  const ids = fc.uniqueArray(fc.nat({ max: 0xffff_ffff }), { minLength: 20, maxLength: 90 });
  const step = fc.record({ add: fc.boolean(), which: fc.nat() });
  fc.assert(
    fc.property(ids, fc.array(step, { minLength: 50, maxLength: 600 }), (pool, steps) => {
      const table = new StreamTable<{ id: number }>();
      const model = new Map<number, { id: number }>();
      for (const { add, which } of steps) {
        const id = pool[which % pool.length]!;
        if (add && !model.has(id)) {
          const stream = { id };
          model.set(id, stream);
          table.add(stream);
        } else if (!add) {
          model.delete(id);
          table.delete(id);
        }
        expect(table.get(id)).toBe(model.get(id));
      }
      expect(table.size).toBe(model.size);
      for (const [id, stream] of model) expect(table.get(id)).toBe(stream);
      expect(table.list()).toEqual([...model.values()].toSorted((a, b) => a.id - b.id));
    }),
    { numRuns: 200 },
  );
});

test("ids in a row, as links open them, with one that stays", () => {
  const table = new StreamTable<{ id: number }>();
  table.add({ id: 1 });
  for (let id = 2; id < 20_000; id++) {
    table.add({ id });
    if (id > 100) table.delete(id - 98);
  }
  expect(table.get(1)).toEqual({ id: 1 });
  expect(table.size).toBe(100);
  table.clear();
  expect([table.size, table.get(1), table.list()]).toEqual([0, undefined, []]);
});
