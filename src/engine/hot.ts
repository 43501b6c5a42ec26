/** A map with a bound: one of the entries that were not used lately makes room. */
export interface Bounded<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

interface Entry<V> {
  value: V;
  used: boolean;
}

/** How many used entries the hand passes before it takes one all the same: an insertion never scans everything. */
const PASSED_MAX = 32;

/** A {@link Bounded} map of at most `entriesMax` entries; `dropped` hears of each one that had to go. */
export function boundedMap<V>(entriesMax: number, dropped?: (value: V) => void): Bounded<V> {
  // SIEVE (NSDI '24): a use sets a mark and moves nothing; a hand goes round in the order of insertion, takes marks
  // away and takes out what has none. The hand is an iterator that stays: a Map remembers deleted entries until it is
  // rebuilt, and one that began anew would pass them each time.
  const entries = new Map<string, Entry<V>>();
  let hand = entries.entries();
  const makeRoom = (): void => {
    for (let passed = 0; entries.size > entriesMax; ) {
      const next = hand.next();
      if (next.done === true) {
        hand = entries.entries();
        continue;
      }
      const [key, entry] = next.value;
      if (entry.used && passed++ < PASSED_MAX) {
        entry.used = false;
        continue;
      }
      entries.delete(key);
      dropped?.(entry.value);
    }
  };
  return {
    get: (key) => {
      const entry = entries.get(key);
      if (entry === undefined) return undefined;
      entry.used = true;
      return entry.value;
    },
    set: (key, value) => {
      const entry = entries.get(key);
      if (entry !== undefined) {
        entry.value = value;
        return;
      }
      entries.set(key, { value, used: false });
      if (entries.size > entriesMax) makeRoom();
    },
    delete: (key) => {
      entries.delete(key);
    },
    clear: () => {
      entries.clear();
      hand = entries.entries();
    },
    get size() {
      return entries.size;
    },
  };
}
