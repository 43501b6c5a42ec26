/**
 * SIEVE, the replacement policy (Zhang et al., "SIEVE is Simpler than LRU", NSDI 2024). Entries stand in the order of
 * their ids, which is the order of their arrival. A hand walks from the oldest to the newest and wraps: an entry that
 * was visited since the hand last passed loses its mark and stays, one that was not is the victim. New entries begin
 * unvisited, so what is read once goes before what is read again.
 *
 * No memory per entry: the order is the index's own, read in small pages; the marks are a shared array of bytes, which
 * servers set with a plain store. Two entries may share a mark: then one of them stays a lap longer, nothing worse.
 */
import { assert } from "../base/assert.ts";

/** An entry as the queue sees it. */
export interface SieveEntry {
  readonly id: number;
}

/** What the hand found on a walk. */
export interface SieveWalk<E extends SieveEntry> {
  readonly victims: readonly E[];
  /** How many entries the hand passed, victims included. */
  readonly passed: number;
}

/** The hand over a queue. */
export interface Sieve<E extends SieveEntry> {
  /**
   * Walks until `enough` says so of the victims found, or `passMax` entries were passed, or the queue is empty. The
   * caller takes the victims out of the queue before it walks again.
   */
  walk(passMax: number, enough: (victims: readonly E[]) => boolean): SieveWalk<E>;
}

/** Notes a hit on version `id`. `visited` has a length that is a power of two. */
export function markVisited(visited: Uint8Array, id: number): void {
  visited[id & (visited.length - 1)] = 1;
}

/**
 * A hand at the oldest entry. `page` gives up to `count` entries with ids above `after`, ascending; `mayEvict` says
 * whether an entry may go now (one in use is passed over and keeps its mark).
 */
export function createSieve<E extends SieveEntry>(parts: {
  readonly visited: Uint8Array;
  readonly page: (after: number, count: number) => readonly E[];
  readonly mayEvict: (entry: E) => boolean;
  readonly pageEntries: number;
}): Sieve<E> {
  const { visited, page, mayEvict, pageEntries } = parts;
  const mask = visited.length - 1;
  assert(visited.length > 0 && (visited.length & mask) === 0, "the marks are a power of two in number");
  let hand = 0; // the id last passed

  const isVictim = (entry: E): boolean => {
    if (!mayEvict(entry)) return false;
    if (visited[entry.id & mask] === 0) return true;
    visited[entry.id & mask] = 0;
    return false;
  };

  return {
    walk(passMax, enough) {
      const victims: E[] = [];
      const taken = new Set<number>();
      let passed = 0;
      let wrappedEmpty = false;
      while (passed < passMax && !enough(victims)) {
        const entries = page(hand, Math.min(pageEntries, passMax - passed));
        if (entries.length === 0) {
          if (wrappedEmpty) break;
          wrappedEmpty = true;
          hand = 0;
          continue;
        }
        wrappedEmpty = false;
        for (const entry of entries) {
          if (enough(victims)) break;
          hand = entry.id;
          passed++;
          // Within one walk the hand may come round again before the victims have left the queue.
          if (taken.has(entry.id)) return { victims, passed };
          if (!isVictim(entry)) continue;
          taken.add(entry.id);
          victims.push(entry);
        }
      }
      return { victims, passed };
    },
  };
}
