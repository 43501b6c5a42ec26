/** A map with a bound: the entry used longest ago makes room. */
export interface Bounded<V> {
  get(key: string): V | undefined;
  set(key: string, value: V): void;
  delete(key: string): void;
  clear(): void;
  readonly size: number;
}

/** A {@link Bounded} map of at most `entriesMax` entries; `dropped` hears of each one that had to go. */
export function boundedMap<V>(entriesMax: number, dropped?: (value: V) => void): Bounded<V> {
  // A Map keeps insertion order, so re-inserting on use makes its first key the one used longest ago. Two
  // generations of maps avoid that write on most uses: an entry moves at most once per turn.
  let young = new Map<string, V>();
  let old = new Map<string, V>();
  const half = Math.max(1, Math.floor(entriesMax / 2));
  const turn = (): void => {
    if (young.size < half) return;
    if (dropped) for (const value of old.values()) dropped(value);
    old = young;
    young = new Map();
  };
  return {
    get: (key) => {
      const value = young.get(key);
      if (value !== undefined) return value;
      const aged = old.get(key);
      if (aged === undefined) return undefined;
      old.delete(key);
      young.set(key, aged);
      turn();
      return aged;
    },
    set: (key, value) => {
      old.delete(key);
      young.set(key, value);
      turn();
    },
    delete: (key) => {
      young.delete(key);
      old.delete(key);
    },
    clear: () => {
      young = new Map();
      old = new Map();
    },
    get size() {
      return young.size + old.size;
    },
  };
}
