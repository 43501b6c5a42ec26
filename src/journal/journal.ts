/** Opens a journal: recovery, then the view, the writer and the upkeep put together. */
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Random } from "../base/random.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import {
  appendItem,
  dropItem,
  moveItem,
  type PendingBounds,
  placeOf,
  rawRecord,
  stageItem,
  withPlace,
} from "./appends.ts";
import { PAGE_BYTES, recordBytes, type SegmentName } from "./frame.ts";
import { journalFiles, readPlace } from "./read-files.ts";
import { type Recovered, recover, type Unconfirmed } from "./recover.ts";
import { createSegments, JOURNAL_FOLDER, removeQuietly, segmentPath } from "./segments.ts";
import type { Copies, Entry, Journal, JournalListener, Recovery } from "./types.ts";
import { createUpkeep } from "./upkeep.ts";
import { createView, type LiveView } from "./view.ts";
import { type Amends, createWriter, type Item, markItem, type Prepared } from "./writer.ts";

/** Sizes and bounds; the defaults are those of `limits`. */
export interface JournalBounds extends PendingBounds {
  /** Of one file. A small flash takes smaller ones: two are there at least. */
  readonly segmentBytes: number;
  /** Of a file, for records that free room. At most half of it. */
  readonly reserveBytes: number;
  /** At most half of a file. */
  readonly batchBytesMax: number;
  readonly queueMax: number;
  readonly markDelayMs: number;
}

const DEFAULTS: JournalBounds = {
  segmentBytes: limits.journalSegmentBytes,
  reserveBytes: limits.journalReserveBytes,
  batchBytesMax: limits.journalBatchBytesMax,
  queueMax: limits.journalQueueMax,
  markDelayMs: limits.journalMarkDelayMs,
  entriesMax: limits.journalEntriesMax,
  spansMax: limits.journalSpansMax,
  inlineBytesMax: limits.journalInlineBytesMax,
  inlineTotalBytesMax: limits.journalInlineTotalBytesMax,
  headerBytesMax: limits.journalHeaderBytesMax,
  recordBytesMax: limits.journalRecordBytesMax,
  blocksPerBlobMax: limits.stagedBlocksPerBlobMax,
  blocksMax: limits.stagedBlocksMax,
};

/** An acknowledgement promises this machine's flash, and no more. */
const FLASH_ONLY: Copies = { count: 1, others: () => Promise.resolve() };

export interface JournalParts {
  readonly disk: Disk;
  readonly clock: Clock;
  /** For the id of a new journal: must not be foreseeable, since it keeps clients from forging records. */
  readonly random: Random;
  /** Stands in every record; never lower than at an earlier start. */
  readonly term: number;
  readonly listener: JournalListener;
  readonly copies?: Copies;
  readonly bounds?: Partial<JournalBounds>;
}

export interface OpenJournal {
  readonly journal: Journal;
  readonly recovery: Recovery;
}

/**
 * Reads the journal of a flash folder, or begins one. Throws `config` when it has another format, several journals or
 * a later term, and what the disk says when the folder cannot be read. A full or read-only disk opens: appends then fail.
 */
export async function openJournal(parts: JournalParts): Promise<OpenJournal> {
  const { disk, clock, term } = parts;
  const bounds = boundsOf(parts.bounds ?? {});
  if (disk.sizeOf(JOURNAL_FOLDER) === null) disk.makeFolder(JOURNAL_FOLDER);
  const names = journalFiles(disk);
  if (names.length === 0) await disk.syncFolder("");
  const journal = names[0]?.journal ?? newId(parts.random);
  const found = await recover(disk, names, clock.wallMs());
  if (found.term > term) {
    throw new ForebayError("config", `the journal was written under term ${found.term}, this start has term ${term}`);
  }
  for (const name of found.dead) removeQuietly(disk, name);
  const view = createView(parts.listener);
  for (const { value, home } of found.entries) view.add(value, home);
  for (const { value, home } of found.blocks) view.staged.put(value, home);
  const segments = createSegments({
    disk,
    journal,
    segmentBytes: bounds.segmentBytes,
    reserveBytes: bounds.reserveBytes,
    batchBytesMax: bounds.batchBytesMax,
    found: found.files,
    adopt: found.blank,
    nextNumber: (names.at(-1)?.number ?? 0) + 1,
  });
  const amends = await makeAmends(disk, journal, view, found, bounds);
  const writer = createWriter({
    segments,
    clock,
    copies: parts.copies ?? FLASH_ONLY,
    term,
    nextRecord: found.nextRecord,
    amends,
    bounds,
    afterBatch: () => upkeep.kick(),
  });
  const upkeep = createUpkeep({
    disk,
    segments,
    writer: () => writer,
    view,
    segmentBytes: bounds.segmentBytes,
    reserveBytes: bounds.reserveBytes,
    nowMs: () => clock.wallMs(),
    emptyBefore: found.damagedBefore,
  });
  await segments.refresh(bounds.segmentBytes);
  if (amends !== null && amends.records.length > 0) {
    await new Promise((resolve) => writer.append(markItem(segments, undefined, resolve)));
  }
  upkeep.kick();
  const append = <T>({ item, outcome }: { readonly item: Item; readonly outcome: Promise<T> }): Promise<T> => {
    writer.append(item);
    return outcome;
  };
  const own = { view, clock, term, bounds };
  return {
    recovery: found.report,
    journal: {
      view,
      append: (entry) => append(appendItem(own, entry)),
      stage: (block) => append(stageItem(own, block)),
      dropBlocks: (name) => append(dropItem(own, name)),
      move: (seq, event) => append(moveItem(own, seq, event)),
      readInline: (seq) => readInline(disk, view, seq),
      health: () => writer.health(),
      stats: () => ({
        ...view.totals(),
        ...writer.counts,
        segments: segments.count,
        diskBytes: segments.diskBytes,
        carriedRecords: upkeep.carriedRecords,
        removedSegments: upkeep.removedSegments,
      }),
      stop: async () => {
        await writer.close();
        await upkeep.idle();
        await segments.close();
      },
    },
  };
}

function boundsOf(given: Partial<JournalBounds>): JournalBounds {
  const bounds = { ...DEFAULTS, ...given };
  const { segmentBytes, batchBytesMax, reserveBytes } = bounds;
  assert(segmentBytes % PAGE_BYTES === 0, "a file of the journal is whole pages");
  assert(2 * batchBytesMax <= segmentBytes && 2 * reserveBytes <= segmentBytes, "a batch and a reserve fit a file");
  // A record that may be written must fit a batch, whatever bounds were given.
  return { ...bounds, recordBytesMax: Math.min(bounds.recordBytesMax, batchBytesMax) };
}

function newId(random: Random): string {
  const half = (): string => random.uint32().toString(16).padStart(8, "0");
  return half() + half();
}

/**
 * What is to be written before all else: what is there and not known to be durable, again. More than one file takes
 * is flushed where it stands instead.
 */
async function makeAmends(
  disk: Disk,
  journal: string,
  view: LiveView,
  found: Recovered,
  bounds: JournalBounds,
): Promise<Amends | null> {
  if (found.nextRecord === found.durable + 1) return null;
  const records: Prepared[] = [];
  for (const one of found.unconfirmed) records.push(await again(disk, view, one));
  const bytes = records.reduce((sum, { record }) => sum + recordBytes(record), 0);
  if (bytes <= bounds.segmentBytes - 2 * PAGE_BYTES) return { voidAfter: found.durable, records };
  for (const { number } of found.files) await flushFile(disk, { number, journal });
  return null;
}

/** A record once more. What it holds then lives in the new one. */
async function again(disk: Disk, view: LiveView, { said, inline }: Unconfirmed): Promise<Prepared> {
  const bytes = inline === null ? null : await readPlace(disk, inline);
  const record = rawRecord(said, bytes);
  if (said.kind === "entry") {
    const { seq } = said.entry;
    return {
      record,
      apply: (written) => {
        const entry: Entry | null = view.entry(seq);
        if (entry === null) return;
        const placed = bytes === null ? entry : withPlace(entry, placeOf(written, bytes));
        view.moveHome(placed, { segment: written.segment, bytes: written.bytes });
      },
    };
  }
  return {
    record,
    apply: (written) => {
      if (said.kind !== "block" || view.staged.get(said.block.name, said.block.blockId) !== said.block) return;
      view.staged.moveHome(said.block, { segment: written.segment, bytes: written.bytes });
    },
  };
}

async function flushFile(disk: Disk, name: SegmentName): Promise<void> {
  const fd = disk.open(segmentPath(name), "write");
  try {
    await disk.syncFile(fd);
  } finally {
    disk.close(fd);
  }
}

async function readInline(disk: Disk, view: LiveView, seq: number): Promise<Uint8Array> {
  for (;;) {
    const entry = view.entry(seq);
    if (entry?.kind !== "put" || entry.content.kind === "spans") {
      throw new ForebayError("gone", "the write has ended, or its bytes are not in the journal");
    }
    if (entry.content.kind === "damaged")
      throw new ForebayError("flash-failed", "the bytes in the journal are damaged");
    const { place } = entry.content;
    const bytes = await readPlace(disk, place).catch((error: unknown) => {
      if (isAt(view, seq, place)) throw error;
      return null;
    });
    if (bytes !== null) return bytes;
    if (isAt(view, seq, place)) throw new ForebayError("flash-failed", "bytes in the journal are not what was written");
  }
}

/** Whether the entry's bytes still stand there: it may have been carried elsewhere meanwhile. */
function isAt(view: LiveView, seq: number, place: { readonly file: string; readonly offset: number }): boolean {
  const entry = view.entry(seq);
  if (entry?.kind !== "put" || entry.content.kind !== "inline") return false;
  return entry.content.place.file === place.file && entry.content.place.offset === place.offset;
}
