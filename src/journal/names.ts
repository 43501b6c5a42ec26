/**
 * The pending names of a container in the order in which the lake lists them: that of their UTF-8 bytes. A sorted
 * array with a small overlay of what came and went since it was made, so that neither a write nor a page of a list
 * costs a pass over all names.
 */

/** Changes that are kept beside the array until they are worked in. */
const OVERLAY_MAX = 1024;

/** Compares as the UTF-8 bytes of the strings do. UTF-16 has surrogates (U+10000 and up) before U+E000, UTF-8 not. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const [left, right] = [a.charCodeAt(i), b.charCodeAt(i)];
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

const rank = (unit: number): number => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800);

export interface SortedNames {
  add(name: string): void;
  remove(name: string): void;
  /** Names that are `from` or later, in order. Not to be changed while they are read. */
  from(from: string): Iterable<string>;
  readonly size: number;
}

export function createSortedNames(): SortedNames {
  let base: string[] = [];
  const added = new Set<string>();
  const removed = new Set<string>();

  const settle = (): void => {
    if (added.size + removed.size <= OVERLAY_MAX) return;
    base = [...merged(base, 0, [...added].sort(compareNames), removed)];
    added.clear();
    removed.clear();
  };
  return {
    add: (name) => {
      if (!removed.delete(name)) added.add(name);
      settle();
    },
    remove: (name) => {
      if (!added.delete(name)) removed.add(name);
      settle();
    },
    from: (from) => {
      const fresh = [...added].filter((name) => compareNames(name, from) >= 0).sort(compareNames);
      return merged(base, firstAtLeast(base, from), fresh, removed);
    },
    get size() {
      return base.length + added.size - removed.size;
    },
  };
}

function firstAtLeast(names: readonly string[], from: string): number {
  let [low, high] = [0, names.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compareNames(names[middle] ?? "", from) < 0) low = middle + 1;
    else high = middle;
  }
  return low;
}

function* merged(
  base: readonly string[],
  start: number,
  added: readonly string[],
  removed: ReadonlySet<string>,
): Generator<string> {
  let next = 0;
  for (let i = start; i < base.length; i++) {
    const name = base[i] ?? "";
    for (; next < added.length && compareNames(added[next] ?? "", name) < 0; next++) yield added[next] ?? "";
    if (!removed.has(name)) yield name;
  }
  for (; next < added.length; next++) yield added[next] ?? "";
}
