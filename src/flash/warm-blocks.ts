/**
 * Blocks that passed to the lake and were not committed yet, remembered by the keeper because blocks of one blob come
 * through any server: when the lake takes a list of them, their files become its version of the blob without a read.
 *
 * Right or absent: what is remembered under a block's id must be what the lake has under it when it takes the list. So
 * whoever sends a block says so first, which makes void what was remembered; two that overlap are both forgotten; one
 * that may or may not have happened spoils its blob for as long as anything is remembered; and any other change of the
 * blob (its generation moved) voids all of it. What others do to the same blob's blocks without Forebay is not seen.
 */
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import type { CheckedSpan, Generation, WarmBlocks, WarmEnd } from "./types.ts";

/** What is needed of the staging files. */
export interface WarmHost {
  /** Takes files over from their holder: they end with nobody until {@link unhold}. False: they are not its own. */
  hold(holder: string, fileIds: readonly number[]): boolean;
  unhold(fileIds: readonly number[]): void;
  giveBack(holder: string, fileIds: readonly number[]): void;
  adopt(adoption: { key: string; etag: string; sizeBytes: number; spans: readonly CheckedSpan[] }): Promise<boolean>;
}

/** {@link WarmBlocks} with what the keeper itself tells it. */
export interface KeeperWarmBlocks extends WarmBlocks {
  holderGone(holder: string): void;
  /** Forgets what was not touched for too long. */
  lapse(): void;
  /** Forgets everything. Whether that was anything. */
  shed(): boolean;
  readonly bytes: number;
}

interface Block {
  readonly span: CheckedSpan;
  /** When the lake had said that it has it (monotonic). */
  readonly answeredAtMs: number;
}

interface Blob {
  readonly key: string;
  readonly generation: Generation;
  readonly blocks: Map<string, Block>;
  touchedAtMs: number;
  /** Nothing of it is remembered: what the lake has under some id is not known. */
  readonly spoilt: boolean;
}

/** A block or a list on its way to the lake. */
interface Sending {
  readonly ticket: number;
  readonly holder: string;
  readonly key: string;
  /** Null: a list. */
  readonly blockId: string | null;
  readonly generation: Generation;
  /** When it was announced: it left later. */
  readonly begunAtMs: number;
  /** Another of the same id was on its way at the same time. */
  crossed: boolean;
  readonly ended: PromiseWithResolvers<void>;
}

const isSame = (a: Generation, b: Generation): boolean => a[0] === b[0] && a[1] === b[1] && a[2] === b[2];

export function createWarmBlocks(clock: Clock, host: WarmHost, bytesMax: number): KeeperWarmBlocks {
  const sendings = createSendings(clock);
  const memory = createMemory(clock, host, bytesMax);

  const remember = (sending: Sending, end: Extract<WarmEnd, { kind: "block" }>): boolean => {
    const { holder, key, blockId, generation, crossed } = sending;
    const { span, answeredAtMs } = end;
    if (blockId !== null && !crossed && memory.takes(key, generation) && host.hold(holder, [span.fileId])) {
      memory.put(key, generation, blockId, { span, answeredAtMs });
      return true;
    }
    host.giveBack(holder, [span.fileId]);
    return false;
  };
  const commit = async (sending: Sending, end: Extract<WarmEnd, { kind: "list" }>): Promise<boolean> => {
    const { key, generation, begunAtMs } = sending;
    // The lake had the blocks before the list was sent; their bytes may still be on their way to flash.
    await sendings.settled(key, end.blockIds);
    const blocks = end.blockIds.flatMap((id) => memory.get(key, generation, id) ?? []);
    const isKnown = blocks.length === end.blockIds.length && blocks.every((block) => block.answeredAtMs <= begunAtMs);
    const spans = blocks.map(({ span }) => span);
    const sizeBytes = spans.reduce((sum, { length }) => sum + length, 0);
    // Begun before the blocks are let go of: an adoption holds on to its files itself.
    const adopted = isKnown && spans.length > 0 && host.adopt({ key, etag: end.etag, sizeBytes, spans });
    // The lake has no uncommitted blocks of it any more.
    memory.forget(key);
    return adopted;
  };
  const conclude = async (sending: Sending, end: WarmEnd): Promise<boolean> => {
    if (end.kind === "block") return remember(sending, end);
    if (end.kind === "list") return sending.blockId === null && commit(sending, end);
    if (end.kind === "unknown") {
      if (sending.blockId === null) memory.forget(sending.key);
      else memory.spoil(sending.key, sending.generation);
    }
    return false;
  };
  return {
    begin: async (holder, key, blockId, generation) => {
      if (blockId === null) {
        // With nothing remembered, or about to be, there is nothing to be done at the end.
        const some = memory.has(key, generation) || sendings.some(key);
        return some ? sendings.add(holder, key, null, generation) : null;
      }
      memory.drop(key, blockId);
      const ticket = sendings.add(holder, key, blockId, generation);
      if (ticket === null) memory.spoil(key, generation);
      return ticket;
    },
    end: async (holder, ticket, end) => {
      const sending = sendings.take(ticket, holder);
      if (sending === null) {
        if (end.kind === "block") host.giveBack(holder, [end.span.fileId]);
        return false;
      }
      try {
        return await conclude(sending, end);
      } finally {
        sending.ended.resolve();
      }
    },
    forget: memory.forget,
    holderGone: (holder) => {
      for (const sending of sendings.of(holder)) void conclude(sending, { kind: "unknown" });
    },
    lapse: () => {
      for (const sending of sendings.older(limits.warmBlockTtlMs)) void conclude(sending, { kind: "unknown" });
      memory.lapse();
    },
    shed: memory.shed,
    get bytes() {
      return memory.bytes;
    },
  };
}

/** What is on its way to the lake, by ticket and by blob. */
function createSendings(clock: Clock) {
  const byTicket = new Map<number, Sending>();
  const byKey = new Map<string, Set<Sending>>();
  // Tickets of another life must mean nothing here: they start from the date.
  let nextTicket = Math.floor(clock.wallMs()) * 1000;

  const remove = (sending: Sending): void => {
    byTicket.delete(sending.ticket);
    const others = byKey.get(sending.key);
    others?.delete(sending);
    if (others?.size === 0) byKey.delete(sending.key);
  };
  const removeAll = (which: (sending: Sending) => boolean): Sending[] => {
    const gone = [...byTicket.values()].filter(which);
    for (const sending of gone) {
      remove(sending);
      sending.ended.resolve();
    }
    return gone;
  };
  return {
    /** Null: there are too many. */
    add: (holder: string, key: string, blockId: string | null, generation: Generation): number | null => {
      const others = byKey.get(key) ?? new Set();
      let crossed = false;
      for (const other of others) {
        if (blockId === null || other.blockId !== blockId) continue;
        other.crossed = true;
        crossed = true;
      }
      if (byTicket.size >= limits.warmSendingsMax) return null;
      const [ticket, begunAtMs, ended] = [nextTicket++, clock.monotonicMs(), Promise.withResolvers<void>()];
      const sending: Sending = { ticket, holder, key, blockId, generation, begunAtMs, crossed, ended };
      byTicket.set(ticket, sending);
      byKey.set(key, others.add(sending));
      return ticket;
    },
    take: (ticket: number, holder: string): Sending | null => {
      const sending = byTicket.get(ticket);
      if (sending === undefined || sending.holder !== holder) return null;
      remove(sending);
      return sending;
    },
    some: (key: string): boolean => byKey.has(key),
    /** Resolves when none of these blocks is on its way, or after `limits.warmCommitWaitMs`. */
    settled: async (key: string, blockIds: readonly string[]): Promise<void> => {
      const ids = new Set(blockIds);
      const waited = [...(byKey.get(key) ?? [])].filter(({ blockId }) => blockId !== null && ids.has(blockId));
      if (waited.length === 0) return;
      await new Promise<void>((resolve) => {
        const timer = clock.after(limits.warmCommitWaitMs, resolve);
        void Promise.all(waited.map(({ ended }) => ended.promise)).then(() => {
          timer.cancel();
          resolve();
        });
      });
    },
    /** Takes out those of a holder, and those that are too old. */
    of: (holder: string): Sending[] => removeAll((sending) => sending.holder === holder),
    older: (ageMs: number): Sending[] => removeAll(({ begunAtMs }) => begunAtMs <= clock.monotonicMs() - ageMs),
  };
}

/** Blocks that the lake has, by blob: the least recently touched blob first. */
function createMemory(clock: Clock, host: WarmHost, bytesMax: number) {
  const blobs = new Map<string, Blob>();
  let bytes = 0;
  let count = 0;

  const dropFrom = (blob: Blob, id: string): void => {
    const block = blob.blocks.get(id);
    if (block === undefined) return;
    blob.blocks.delete(id);
    bytes -= block.span.length;
    count--;
    host.unhold([block.span.fileId]);
  };
  const remove = (blob: Blob): void => {
    for (const id of [...blob.blocks.keys()]) dropFrom(blob, id);
    blobs.delete(blob.key);
  };
  const trim = (): void => {
    for (const blob of blobs.values()) {
      if (bytes <= bytesMax && count <= limits.warmBlocksMax && blobs.size <= limits.warmBlobsMax) return;
      remove(blob);
    }
  };
  const add = (key: string, generation: Generation, spoilt: boolean): Blob => {
    const known = blobs.get(key);
    if (known !== undefined) remove(known);
    const blob = { key, generation, blocks: new Map(), touchedAtMs: clock.monotonicMs(), spoilt };
    blobs.set(key, blob);
    return blob;
  };
  const current = (key: string, generation: Generation): Blob | null => {
    const blob = blobs.get(key);
    return blob !== undefined && !blob.spoilt && isSame(blob.generation, generation) ? blob : null;
  };
  const forget = (key: string): void => {
    const blob = blobs.get(key);
    if (blob !== undefined && !blob.spoilt) remove(blob);
  };
  return {
    has: (key: string, generation: Generation): boolean => (current(key, generation)?.blocks.size ?? 0) > 0,
    get: (key: string, generation: Generation, id: string): Block | null =>
      current(key, generation)?.blocks.get(id) ?? null,
    /** Whether blocks of a blob as of `generation` may be remembered: not when newer ones are. */
    takes: (key: string, generation: Generation): boolean => {
      const blob = blobs.get(key);
      return blob === undefined || (!blob.spoilt && isNewer(generation, blob.generation));
    },
    put: (key: string, generation: Generation, id: string, block: Block): void => {
      const blob = current(key, generation) ?? add(key, generation, false);
      dropFrom(blob, id);
      blob.blocks.set(id, block);
      blob.touchedAtMs = clock.monotonicMs();
      blobs.delete(key);
      blobs.set(key, blob);
      bytes += block.span.length;
      count++;
      trim();
    },
    drop: (key: string, id: string): void => {
      const blob = blobs.get(key);
      if (blob !== undefined) dropFrom(blob, id);
    },
    /** Nothing of the blob is remembered for as long as anything would be. */
    spoil: (key: string, generation: Generation): void => {
      add(key, generation, true);
      trim();
    },
    forget,
    lapse: (): void => {
      const oldestMs = clock.monotonicMs() - limits.warmBlockTtlMs;
      for (const blob of [...blobs.values()]) if (blob.touchedAtMs <= oldestMs) remove(blob);
    },
    shed: (): boolean => {
      const some = count > 0;
      for (const blob of [...blobs.values()]) forget(blob.key);
      return some;
    },
    get bytes() {
      return bytes;
    },
  };
}

/** Whether `a` is `b` or later: counters only rise, and begin anew below where they end. */
function isNewer(a: Generation, b: Generation): boolean {
  return [0, 1, 2].every((n) => ((a[n as 0] - b[n as 0]) | 0) >= 0);
}
