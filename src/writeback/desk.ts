/**
 * The desk: takes writes for the servers, tells readers what is pending, and keeps what the lake has taken warm. It
 * stands between the journal (what is owed), the staging files of the flash, the fences and the drain.
 *
 * The order in which things become visible is what this file is about:
 *   acknowledged: durable in the journal → counted in shared memory → generation moved → the client hears of it.
 *   settled: durable in the journal → generation moved → its bytes offered to the cache → counted no more.
 * So a reader that finds nothing counted may trust what it knows of the lake, and one that remembers something pending
 * asks again as soon as that may have changed.
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { filePath, spanSum } from "../flash/files.ts";
import type { ChangeScope, CheckedSpan, Generation, Staging } from "../flash/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { BlobName, Entry, Journal, JournalListener, NewBlock, NewEntry } from "../journal/types.ts";
import type { Aliases } from "./aliases.ts";
import { covers, createFences } from "./fences.ts";
import { createLedger, type DeskLedger } from "./ledger.ts";
import { createSmallBytes, type SmallBytes } from "./small-bytes.ts";
import { createStamps } from "./stamps.ts";
import type { Drain, NewWrite, WriteDesk, WriteRefusal, Written } from "./types.ts";

/** What the desk tells all processes, through the memory that they share. */
export interface DeskSignals {
  /** One more (1) or less (-1) is owed for a blob. */
  owed(name: BlobName, count: 1 | -1): void;
  /** What is owed in all: a name as often as it is owed. */
  recovered(names: Iterable<BlobName>): void;
  /** Whatever anybody knows of the blob is void. */
  moved(name: BlobName): void;
  /** Whether nothing in reach of the blob moved since `generation` was noted. */
  unmoved(name: BlobName, generation: Generation): boolean;
}

export interface DeskOptions {
  readonly journal: Journal;
  readonly staging: Staging;
  readonly drain: Drain;
  readonly disk: Disk;
  readonly clock: Clock;
  readonly aliases: Pick<Aliases, "ended" | "of">;
  readonly signals: DeskSignals;
  /** Whether Forebay has a credential of its own for an account. */
  readonly mayCarry: (account: string) => boolean;
  readonly keyOf: (name: BlobName) => string;
  readonly log: (level: "info" | "warn" | "error", message: string, fields?: Record<string, string | number>) => void;
}

/** The desk with what its own process needs of it. */
export interface LocalDesk extends WriteDesk {
  /** Told by the journal; see {@link journalListener}. */
  readonly listener: JournalListener;
  /** An entry was moved, or the staged blocks of a blob may be gone: the counts follow. */
  entryMoved(entry: Entry): void;
  stagedChanged(name: BlobName): void;
  holderGone(holder: string): void;
  /** Forgets blocks that nobody committed in time. */
  dropOldBlocks(): Promise<void>;
  stop(): void;
}

interface DeskParts {
  readonly options: DeskOptions;
  readonly ledger: DeskLedger;
  readonly small: SmallBytes;
  /** Writes under way, by blob: one after the other, so that what was judged still holds. */
  readonly turns: Map<string, Promise<unknown>>;
  /** Writes that no fence held back. */
  readonly passed: Set<{ readonly name: BlobName; readonly done: Promise<unknown> }>;
  /** Files that are being adopted: what the journal frees of them waits for the outcome. */
  readonly adopting: Map<number, Promise<boolean>>;
}

export function createDesk(options: DeskOptions): LocalDesk {
  const { journal, staging, drain, clock, signals } = options;
  const parts: DeskParts = {
    options,
    ledger: createLedger(journal.view, signals),
    small: createSmallBytes(limits.deskInlineBytesMax),
    turns: new Map(),
    passed: new Set(),
    adopting: new Map(),
  };
  const { ledger, small } = parts;
  const stamps = createStamps(clock, journal.view.entries());
  // Fences of another life must mean nothing here: their ids start from the date.
  const fences = createFences(clock, Math.floor(clock.wallMs()) * 1000);
  ledger.recovered();

  /** Whether the files are the journal's now. They are not when their holder was taken for gone meanwhile. */
  const kept = (files: readonly number[]): boolean => {
    try {
      staging.keep(files);
      return true;
    } catch (error) {
      if (hasCode(error, "gone")) return false;
      throw error;
    }
  };
  const stage = async (block: NewBlock): Promise<Staged> => {
    if (!options.mayCarry(block.name.account)) return refused("no-credential");
    const files = [block.span.fileId];
    if (!kept(files)) return refused("unavailable");
    // The lake will have the block from here: what passed to it under the id before is not to be made a blob of.
    staging.warm.forget(options.keyOf(block.name));
    try {
      await journal.stage(block);
      ledger.stagedChanged(block.name);
      return { kind: "staged" };
    } catch (error) {
      if (isOver(error)) staging.release(files);
      return refusalOf(error);
    }
  };
  const write = async (request: NewWrite): Promise<Written> => {
    const { name, judgedOn, basedAt } = request;
    if (!options.mayCarry(name.account)) return refused("no-credential");
    const before = journal.view.latest(name);
    if (judgedOn !== "any" && judgedOn !== (before?.seq ?? null)) return { kind: "moved" };
    if (before === null && basedAt !== null && !signals.unmoved(name, basedAt)) return { kind: "moved" };
    const files = ownFiles(request);
    if (!kept(files)) return refused("unavailable");
    const counted = ledger.expect(name);
    try {
      const entry = await journal.append(stamped(request));
      if (request.kind === "put" && request.content.kind === "inline") small.put(entry.seq, request.content.bytes);
      counted.appended(entry);
      drain.wake();
      return { kind: "written", entry };
    } catch (error) {
      counted.failed();
      if (isOver(error)) staging.release(files);
      return refusalOf(error);
    }
  };
  /** One write of a blob after the other, and none while a fence stands before it. */
  const admitted = <T>(name: BlobName, work: () => Promise<T>): Promise<T | Refused> =>
    inTurn(parts, options.keyOf(name), async () => {
      try {
        for (let wait = fences.pass(name); wait !== null; wait = fences.pass(name)) await wait;
      } catch (error) {
        return refusalOf(error);
      }
      const done = work();
      const passed = { name, done };
      parts.passed.add(passed);
      return done.finally(() => parts.passed.delete(passed));
    });
  const stamped = (request: NewWrite): NewEntry => {
    const { path, name, base } = request;
    if (request.kind === "delete") return { kind: "delete", path, name, base };
    return { kind: "put", path, name, base, put: { ...request.put, ...stamps.next() }, content: request.content };
  };

  const drained = async (scope: ChangeScope, timeoutMs: number, staged: boolean): Promise<void> => {
    const ended = await drain.flush(scope, { timeoutMs, staged });
    if (ended.kind === "timeout") throw new ForebayError("timeout", "what is pending did not reach the lake in time");
    if (ended.kind === "parked") {
      throw new ForebayError("overloaded", `parked writes are in the way: ${ended.seqs.slice(0, 8).join(", ")}`);
    }
  };

  return {
    reserve: async (holder, bytes) => {
      if (!journal.health().ok) return { kind: "refused", why: "unavailable" };
      try {
        return { kind: "file", fileId: await staging.reserve(holder, bytes) };
      } catch (error) {
        return refusalOf(error);
      }
    },
    giveBack: async (holder, fileIds) => staging.giveBack(holder, fileIds),
    stage: (_holder, block) => admitted(block.name, () => stage(block)),
    write: (_holder, request) => admitted(request.name, () => write(request)),
    latest: async (name) => journal.view.latest(name),
    inline: async (seq) => {
      const kept = small.get(seq);
      if (kept !== undefined) return kept;
      try {
        return await journal.readInline(seq);
      } catch (error) {
        if (hasCode(error, "gone")) return null;
        throw error;
      }
    },
    // Where the bytes are no list asks, and of many blocks it would be much to say.
    names: async (account, container, from, limit) =>
      journal.view.namesFrom(account, container, from, limit).map(withoutPlaces),
    alias: async (name) => options.aliases.of(name),
    blocks: async (name) => journal.view.blocksOf(name),
    fence: async (holder, scope, timeoutMs) => {
      const startMs = clock.monotonicMs();
      const fence = fences.raise(holder, scope);
      try {
        await settlePassed(parts, scope);
        await drained(scope, Math.max(0, timeoutMs - (clock.monotonicMs() - startMs)), true);
        return fence;
      } catch (error) {
        fences.lower(fence);
        throw error;
      }
    },
    unfence: async (fence) => fences.lower(fence),
    flush: (scope, timeoutMs) => drained(scope, timeoutMs, false),
    adopt: (_holder, adoption) => staging.adopt(adoption),
    warmBegin: (...args) => staging.warm.begin(...args),
    warmEnd: (...args) => staging.warm.end(...args),
    listener: {
      ended: (entry) => ended(parts, entry),
      filesFreed: (fileIds) => freed(parts, fileIds),
    },
    entryMoved: ledger.moved,
    stagedChanged: ledger.stagedChanged,
    holderGone: fences.holderGone,
    dropOldBlocks: () => dropOldBlocks(parts),
    stop: () => fences.stop(),
  };
}

type Refused = Extract<Written, { kind: "refused" }>;
type Staged = { readonly kind: "staged" } | Refused;

const refused = (why: WriteRefusal): Refused => ({ kind: "refused", why });

/** What a failure of the journal or the flash means to whoever writes. Others are passed on. */
function refusalOf(error: unknown): Refused {
  const { code } = asForebayError(error);
  if (code === "flash-full") return refused("no-room");
  if (code === "flash-failed" || code === "closed") return refused("unavailable");
  if (code === "overloaded") return refused("overloaded");
  if (code === "gone") return refused("block-missing");
  throw error;
}

/**
 * Whether what the journal refused will never be. Where that is not known, the next start may find it there, and needs
 * its files: they stay until then.
 */
function isOver(error: unknown): boolean {
  return !hasCode(error, "timeout");
}

/** The files that a write brings itself: those of staged blocks are the journal's already. */
function ownFiles(request: NewWrite): number[] {
  if (request.kind === "delete" || request.content.kind !== "spans") return [];
  return request.content.spans.flatMap((span) => ("fileId" in span ? [span.fileId] : []));
}

/** Runs `work` when all earlier writes of the blob have ended. */
async function inTurn<T>({ turns }: DeskParts, key: string, work: () => Promise<T>): Promise<T> {
  const before = turns.get(key);
  const mine = before === undefined ? work() : before.then(work, work);
  turns.set(key, mine);
  try {
    return await mine;
  } finally {
    if (turns.get(key) === mine) turns.delete(key);
  }
}

const NO_PLACES = { kind: "spans", spans: [] } as const;

const withoutPlaces = (entry: Entry): Entry => (entry.kind === "put" ? { ...entry, content: NO_PLACES } : entry);

/** Waits for the writes that passed before a fence stood: they are flushed with the rest. */
async function settlePassed({ passed }: DeskParts, scope: ChangeScope): Promise<void> {
  await Promise.allSettled([...passed].filter(({ name }) => covers(scope, name)).map(({ done }) => done));
}

/** An entry left the journal. What the lake took of it, and nobody has written over since, stays warm. */
function ended(parts: DeskParts, entry: Entry): void {
  const { options, small, ledger } = parts;
  const bytes = small.take(entry.seq);
  options.aliases.ended(entry);
  const settled = entry.state.name === "settled" ? entry.state.lakeEtag : null;
  ledger.ended(entry);
  if (settled === null || entry.kind === "delete" || options.journal.view.latest(entry.name) !== null) return;
  const adoption = { key: options.keyOf(entry.name), etag: settled, sizeBytes: entry.put.sizeBytes };
  if (entry.content.kind === "spans") {
    const { spans } = entry.content;
    const done = options.staging.adopt({ ...adoption, spans }).catch(() => false);
    for (const { fileId } of spans) parts.adopting.set(fileId, done);
  } else if (bytes !== undefined) void keepSmall(options, adoption, bytes);
}

/** Files that the journal needs no more go, unless the cache takes them. */
function freed(parts: DeskParts, fileIds: readonly number[]): void {
  const { options, adopting } = parts;
  const going: number[] = [];
  for (const fileId of fileIds) {
    const outcome = adopting.get(fileId);
    if (outcome === undefined) going.push(fileId);
    else
      void outcome.then(() => {
        adopting.delete(fileId);
        options.staging.release([fileId]);
      });
  }
  if (going.length > 0) options.staging.release(going);
}

const SMALL_HOLDER = "desk";

/** Writes the bytes of a small blob, which stood in the journal, into a file of the cache. */
async function keepSmall(
  { staging, disk, log }: DeskOptions,
  adoption: { readonly key: string; readonly etag: string; readonly sizeBytes: number },
  bytes: Uint8Array,
): Promise<void> {
  let fileId: number | null = null;
  try {
    if (bytes.length === 0) {
      await staging.adopt({ ...adoption, spans: [] });
      return;
    }
    fileId = await staging.reserve(SMALL_HOLDER, bytes.length);
    const fd = disk.open(filePath(fileId), "write");
    try {
      await disk.write(fd, bytes, 0);
    } finally {
      disk.close(fd);
    }
    const sum = spanSum();
    sum.add(bytes);
    const span: CheckedSpan = { fileId, offset: 0, length: bytes.length, checksum: sum.end() };
    await staging.adopt({ ...adoption, spans: [span] });
  } catch (error) {
    // It is in the lake: the next reader fetches it.
    if (fileId !== null) staging.giveBack(SMALL_HOLDER, [fileId]);
    log("info", "a small blob could not be kept warm", { reason: asForebayError(error).message });
  }
}

async function dropOldBlocks({ options, ledger }: DeskParts): Promise<void> {
  const { journal, clock } = options;
  const { view } = journal;
  const isOld = (name: BlobName): boolean => {
    const newest = Math.max(...view.blocksOf(name).map(({ stagedAtMs }) => stagedAtMs));
    return newest < clock.wallMs() - limits.stagedBlockTtlMs;
  };
  for (const name of [...view.stagedBlobs()]) {
    if (!isOld(name)) continue;
    await journal.dropBlocks(name);
    ledger.stagedChanged(name);
  }
}
