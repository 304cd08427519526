/** "Did you mean": the known name nearest to a misspelt one. */

/** Edits beyond this share of the name's length, rounded up, are a different word, not a slip. */
const MAX_EDIT_SHARE = 0.4;

/** The nearest of `known` to `name` by edits, or undefined where none is near. Case, dashes and underscores are free. */
export function nearest(name: string, known: Iterable<string>): string | undefined {
  const plain = fold(name);
  let best: string | undefined;
  let bestDistance = Math.ceil(plain.length * MAX_EDIT_SHARE) + 1;
  for (const candidate of known) {
    const distance = edits(plain, fold(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

/** ` (did you mean "x"?)`, or nothing. */
export function suggestion(name: string, known: Iterable<string>): string {
  const near = nearest(name, known);
  return near === undefined ? "" : ` (did you mean "${near}"?)`;
}

function fold(name: string): string {
  return name.toLowerCase().replaceAll(/[-_]/g, "");
}

/** Optimal string alignment distance: insert, delete, replace, or swap of neighbours, one each. */
function edits(a: string, b: string): number {
  let beforeLast: number[] = [];
  let last = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1] ? 0 : 1;
      let cost = Math.min(last[column]! + 1, current[column - 1]! + 1, last[column - 1]! + same);
      if (row > 1 && column > 1 && a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1])
        cost = Math.min(cost, beforeLast[column - 2]! + 1);
      current.push(cost);
    }
    beforeLast = last;
    last = current;
  }
  return last[b.length]!;
}
