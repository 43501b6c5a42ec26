/** What the parts of a history share. */
import type { World } from "../../sim/world.ts";
import type { Acknowledged } from "./checker.ts";
import type { Clients } from "./clients.ts";

/** What runs: shared by the parts of a history. */
export interface Running {
  readonly world: World;
  readonly clients: Clients;
  readonly acknowledged: Acknowledged[];
  readonly pending: Set<Promise<unknown>>;
  /** Snapshots that clients know of, by blob. */
  readonly snapshots: Map<string, string[]>;
}

/** The bytes that a number stands for: different everywhere from those of any other. */
export function bytesOf(content: number, size: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(size / 4));
  let state = (content ^ 0x9e3779b9) >>> 0 || 1;
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    words[i] = state;
  }
  return new Uint8Array(words.buffer, 0, size);
}

/** Counts `work` as under way until it has ended. */
export function track(running: Running, work: Promise<unknown>): void {
  running.pending.add(work);
  void work.finally(() => running.pending.delete(work));
}

/** A server that runs, counted from `number`; null when none does. */
export function pickServer(running: Running, number: number): number | null {
  const { servers } = running.world;
  for (let i = 0; i < servers.length; i++) {
    const at = (number + i) % servers.length;
    if (servers[at] !== undefined) return at;
  }
  return null;
}
