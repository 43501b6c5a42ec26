/** The counters of changes as the FUSE thread sees them: one sum per file, equal as long as nobody changed it here. */
import { openSync } from "node:fs";
import { createGenerations, SHARED_BYTES } from "../engine/generations.ts";
import { mapShared } from "../io/syscalls.ts";
import type { CountersPlace } from "./types.ts";

export interface Counters {
  /** The sum, in 32 bits, of the counters that stand for files with this slot. */
  sum(slot: number): number;
  /** A version was used. */
  visit(versionId: number): void;
}

/** Opens the counters at `place`. */
export function openCounters(place: CountersPlace): Counters {
  switch (place.kind) {
    case "none":
      return { sum: () => 0, visit: () => {} };
    case "array": {
      const values = new Int32Array(place.memory);
      return { sum: (slot) => Atomics.load(values, slot % values.length) >>> 0, visit: () => {} };
    }
    case "generations": {
      const memory = mapShared(openSync(place.path, "r+"), SHARED_BYTES);
      const generations = createGenerations(memory, place.epoch);
      const [, container, account] = generations.slotsOf(`${place.account}/${place.container}/`);
      return {
        sum: (slot) => {
          const [a, b, c] = generations.at([slot, container, account]);
          return (a + b + c) >>> 0;
        },
        visit: (versionId) => generations.visit(versionId),
      };
    }
  }
}
