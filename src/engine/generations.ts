/**
 * Generations: counters that every change through Forebay moves, before it is forwarded and again after its answer.
 * Whoever reads the lake notes them first and finds its result void if they moved. They stand in memory that all
 * processes share, so a hit compares three integers instead of sending a message, and no server has to confirm
 * anything before a change may go on.
 *
 * Blobs and containers share a slot when their hashes collide: then one moves the other, which costs a check with
 * the lake and is never wrong.
 *
 * Beside the counters lie the marks of visit that the replacement policy reads: one byte for each version id (modulo);
 * and, per slot, how many writes the lake does not have yet (see `writeback/`): who finds none there asks nobody.
 */
import { assert } from "../base/assert.ts";
import type { ChangeScope, Generation } from "../flash/types.ts";

const BLOB_SLOTS = 1 << 20;
const CONTAINER_SLOTS = 1 << 14;
const ACCOUNT_SLOTS = 1 << 10;
const SLOTS = BLOB_SLOTS + CONTAINER_SLOTS + ACCOUNT_SLOTS;
const VISITED_BYTES = 1 << 24;
const VISITED_MASK = VISITED_BYTES - 1;

/** Bytes of shared memory that the counters and marks take. Pages never touched cost nothing. */
export const SHARED_BYTES = SLOTS * 4 + VISITED_BYTES + 4 + 4 + SLOTS * 4;

/** Where a key's three counters are. */
export type Slots = readonly [blob: number, container: number, account: number];

/** The shared counters and marks. */
export interface Generations {
  /** Names this life of the counters: values of another epoch mean nothing. */
  readonly epoch: string;
  readonly visited: Uint8Array;
  /** The slots of an index key (`account/container/blob`, with or without a snapshot). */
  slotsOf(key: string): Slots;
  /** The counters as they are now. */
  at(slots: Slots): Generation;
  /** Whether nothing moved since `generation` was read. */
  same(slots: Slots, generation: Generation): boolean;
  /**
   * Whether what was checked in an earlier epoch may still be believed without a check, where a policy says so: changes
   * that earlier lives left unfinished are dealt with, and nothing in reach moved in this epoch.
   */
  earlierHolds(slots: Slots): boolean;
  /** Changes that earlier lives left unfinished are dealt with: what they may have replaced is forgotten. */
  earlierForgotten(): void;
  /** Moves the counters of a scope: everything within it that is noted becomes void. */
  move(scope: ChangeScope): void;
  /** Marks a version as used (for the replacement policy). */
  visit(versionId: number): void;
  readonly owed: Owed;
}

/** How many pending writes (and staged blocks) there may be, per slot. Written by the owner of the journal alone. */
export interface Owed {
  /** Whether the journal was read since the machine started: before that nobody knows what is pending. */
  known(): boolean;
  /** Whether anything may be pending for a blob, in its container, in its account. */
  blob(slots: Slots): boolean;
  container(slots: Slots): boolean;
  account(slots: Slots): boolean;
  /** One more (1) or less (-1) for the blob with these slots, and with it for its container and account. */
  add(slots: Slots, count: 1 | -1): void;
  /** What is owed in all, found at a start: no slot that stays above nothing is seen as nothing meanwhile. */
  recovered(blobs: Iterable<Slots>): void;
}

/** Views `memory` ({@link SHARED_BYTES} long, zeros at first) as the counters of `epoch`. */
export function createGenerations(memory: ArrayBuffer, epoch: string): Generations {
  assert(memory.byteLength >= SHARED_BYTES, "the shared memory holds every counter");
  const counters = new Int32Array(memory, 0, SLOTS);
  const visited = new Uint8Array(memory, SLOTS * 4, VISITED_BYTES);
  const earlier = new Int32Array(memory, SLOTS * 4 + VISITED_BYTES, 1);
  const owedKnown = new Int32Array(memory, SLOTS * 4 + VISITED_BYTES + 4, 1);
  const owed = new Int32Array(memory, SLOTS * 4 + VISITED_BYTES + 8, SLOTS);
  const read = (index: number): number => Atomics.load(counters, index);
  return {
    epoch,
    visited,
    slotsOf,
    at: (slots) => [read(slots[0]), read(slots[1]), read(slots[2])],
    same: (slots, generation) =>
      read(slots[0]) === generation[0] && read(slots[1]) === generation[1] && read(slots[2]) === generation[2],
    earlierHolds: (slots) =>
      Atomics.load(earlier, 0) === 1 && read(slots[0]) === 0 && read(slots[1]) === 0 && read(slots[2]) === 0,
    earlierForgotten: () => {
      Atomics.store(earlier, 0, 1);
    },
    move: (scope) => {
      let slots: Slots;
      let which: 0 | 1 | 2;
      if (scope.container === null) [slots, which] = [slotsOf(`${scope.account}//`), 2];
      else if (scope.blob === null) [slots, which] = [slotsOf(`${scope.account}/${scope.container}/`), 1];
      else [slots, which] = [slotsOf(`${scope.account}/${scope.container}/${scope.blob}`), 0];
      Atomics.add(counters, slots[which], 1);
    },
    visit: (versionId) => {
      visited[versionId & VISITED_MASK] = 1;
    },
    owed: createOwed(owedKnown, owed),
  };
}

function createOwed(known: Int32Array, counts: Int32Array): Owed {
  const some = (index: number): boolean => Atomics.load(counts, index) !== 0;
  return {
    known: () => Atomics.load(known, 0) === 1,
    blob: (slots) => some(slots[0]),
    container: (slots) => some(slots[1]),
    account: (slots) => some(slots[2]),
    add: (slots, count) => {
      for (const index of slots) Atomics.add(counts, index, count);
    },
    recovered: (blobs) => {
      const found = new Map<number, number>();
      for (const slots of blobs) for (const index of slots) found.set(index, (found.get(index) ?? 0) + 1);
      for (const [index, count] of found) Atomics.store(counts, index, count);
      for (let index = 0; index < counts.length; index++) {
        if (counts[index] !== 0 && !found.has(index)) Atomics.store(counts, index, 0);
      }
      Atomics.store(known, 0, 1);
    },
  };
}

/** The slots of an index key (`account/container/blob`, with or without a snapshot): the same in every life. */
export function slotsOf(key: string): Slots {
  const accountEnd = key.indexOf("/");
  const containerEnd = key.indexOf("/", accountEnd + 1);
  const nul = key.indexOf("\u0000", containerEnd + 1);
  const blob = nul < 0 ? key : key.slice(0, nul);
  return [
    slot(blob, BLOB_SLOTS),
    BLOB_SLOTS + slot(containerEnd < 0 ? key : key.slice(0, containerEnd), CONTAINER_SLOTS),
    BLOB_SLOTS + CONTAINER_SLOTS + slot(accountEnd < 0 ? key : key.slice(0, accountEnd), ACCOUNT_SLOTS),
  ];
}

function slot(text: string, slots: number): number {
  return Number(Bun.hash.xxHash32(text)) & (slots - 1);
}
