/**
 * Group commit. Appends wait in a queue; whatever waits when the last flush ended becomes one batch, written and
 * flushed together, and only then do they take effect and resolve. One batch is under way at a time, so a record is
 * made against what is durable and what stands before it in its own batch.
 *
 * A flush that fails is never tried again: its file is closed, its batch rejected, and before anything else the next
 * file says that those records never happened. While that cannot be written either, everything is refused.
 */
import { asForebayError, ForebayError } from "../base/errors.ts";
import type { Clock, Timer } from "../io/clock.ts";
import { inlineOffset, PAGE_BYTES, pageAligned, type RawRecord, recordBytes, writeRecord } from "./frame.ts";
import { encodeSaid, KIND, type Mark } from "./records.ts";
import { type Head, type Room, type Segments, segmentPath, withFilePage } from "./segments.ts";
import type { Copies, JournalHealth } from "./types.ts";

/** Where a record stands, now that it is durable. */
export interface Written {
  readonly segment: number;
  readonly file: string;
  readonly inlineOffset: number;
  readonly bytes: number;
}

/** A record with what it does once it is durable. */
export interface Prepared {
  readonly record: RawRecord;
  apply(written: Written): void;
}

/** What those who make records must know of their batch. */
export interface Batch {
  /** What earlier records of this batch are about. */
  readonly touched: Set<string>;
  /** The newest entry of a blob in this batch. */
  readonly latest: Map<string, number>;
  entries: number;
  spans: number;
  inlineBytes: number;
}

export interface Item {
  readonly room: Room;
  /** Whether its flush need not be confirmed by a mark: it is one. */
  readonly isMark?: boolean;
  /** Makes the record. `wait`: not in this batch. Null: nothing is to be written any more. Throws to refuse. */
  prepare(batch: Batch, record: number): Prepared | "wait" | null;
  reject(error: ForebayError): void;
}

/** Records to be written before all else, with the mark that says which they replace. */
export interface Amends {
  readonly voidAfter: number;
  readonly records: readonly Prepared[];
}

export interface Writer {
  append(item: Item): void;
  /** Resolves when nothing waits any more. */
  idle(): Promise<void>;
  health(): JournalHealth;
  readonly counts: { readonly records: number; readonly batches: number; readonly failedBatches: number };
  /** Later appends are rejected with `closed`. */
  close(): Promise<void>;
}

export interface WriterParts {
  readonly segments: Segments;
  readonly clock: Clock;
  readonly copies: Copies;
  readonly term: number;
  /** The number of the next record. All before it are durable, or made good by `amends`. */
  readonly nextRecord: number;
  readonly amends: Amends | null;
  readonly bounds: {
    readonly batchBytesMax: number;
    readonly reserveBytes: number;
    readonly queueMax: number;
    readonly markDelayMs: number;
  };
  /** After each batch, written or failed. */
  readonly afterBatch: () => void;
}

export function createWriter(parts: WriterParts): Writer {
  const { segments, clock, bounds, copies } = parts;
  let queue: Item[] = [];
  let running: Promise<void> | null = null;
  let next = parts.nextRecord;
  let amends = parts.amends;
  /** What a batch that failed was asked for: answered when it is known never to count. */
  let doomed: { readonly items: readonly Item[]; readonly error: ForebayError } | null = null;
  let durable = amends === null ? next - 1 : amends.voidAfter;
  let health: JournalHealth = { ok: true };
  let markTimer: Timer | null = null;
  let closed = false;
  const counts = { records: 0, batches: 0, failedBatches: 0 };
  const failed = (error: ForebayError): void => {
    if (health.ok) health = { ok: false, reason: error.message, sinceMs: clock.wallMs() };
    counts.failedBatches++;
  };

  /** Writes records numbered from `first` on as one batch. Throws if that failed; its file is closed then. */
  const write = async (prepared: readonly Prepared[], first: number): Promise<void> => {
    const bytes = pageAligned(prepared.reduce((sum, { record }) => sum + recordBytes(record), 0));
    const head = segments.headFor(bytes);
    const { written, page } = layOut(head, prepared, first, bytes, { term: parts.term, durable });
    const copy = { term: parts.term, firstRecord: first, lastRecord: next - 1, bytes: page.subarray(-bytes) };
    // Both are waited for: a file is not closed while something is being written to it.
    const ends = await Promise.allSettled([segments.write(head, page), copies.others(copy)]);
    for (const end of ends) {
      if (end.status === "fulfilled") continue;
      segments.seal();
      throw asForebayError(end.reason);
    }
    durable = next - 1;
    counts.batches++;
    counts.records += prepared.length;
    health = { ok: true };
    prepared.forEach((one, i) => {
      const where = written[i];
      if (where !== undefined) one.apply(where);
    });
  };

  /** Says what never happened and writes it again, in a batch of their own: see `recover.ts`. */
  const makeAmends = async ({ voidAfter, records }: Amends): Promise<void> => {
    const first = next;
    const mark: Mark = { kind: "mark", oldestSegment: segments.oldest(), voidAfter, voidBefore: first };
    const record = { kind: KIND.mark, subject: 0, said: encodeSaid(mark), inline: null };
    next += 1 + records.length;
    await write([{ record, apply: () => {} }, ...records], first);
  };

  /** Takes from the queue what fits one batch. */
  const collect = (): { items: Item[]; prepared: Prepared[] } => {
    const batch: Batch = { touched: new Set(), latest: new Map(), entries: 0, spans: 0, inlineBytes: 0 };
    const items: Item[] = [];
    const prepared: Prepared[] = [];
    let [bytes, taken] = [0, 0];
    for (const item of queue) {
      const one = prepareOne(item, batch, next);
      if (one === "wait") break;
      if (one !== null) {
        const after = bytes + recordBytes(one.record);
        const room = Math.min(segments.room(item.room), bounds.batchBytesMax);
        if (pageAligned(after) > room) {
          // Whatever was noted of it in the batch is not to be: another batch begins.
          if (items.length > 0) break;
          taken++;
          item.reject(noRoom(segments));
          break;
        }
        bytes = after;
        next++;
        items.push(item);
        prepared.push(one);
      }
      taken++;
    }
    queue = queue.slice(taken);
    return { items, prepared };
  };

  /** One more record: what was made void counts as that only when a later one says that it is durable. */
  const confirm = async (): Promise<void> => {
    const first = next++;
    await write([{ record: markRecord(segments), apply: () => {} }], first);
  };
  const answerDoomed = (as: (error: ForebayError) => ForebayError): void => {
    const { items, error } = doomed ?? { items: [], error: null };
    doomed = null;
    for (const item of items) if (error !== null) item.reject(as(error));
  };

  const step = async (): Promise<void> => {
    await segments.refresh(bounds.batchBytesMax + PAGE_BYTES + bounds.reserveBytes);
    if (amends !== null) {
      try {
        await makeAmends(amends);
        amends = null;
        if (doomed !== null) await confirm();
        answerDoomed((error) => error);
      } catch (error) {
        amends ??= { voidAfter: durable, records: [] };
        failed(asForebayError(error));
        answerDoomed(unknown);
        const waiting = queue;
        queue = [];
        for (const item of waiting) item.reject(asForebayError(error));
        return;
      }
    }
    const first = next;
    const { items, prepared } = collect();
    if (items.length === 0) return;
    try {
      await write(prepared, first);
    } catch (error) {
      amends = { voidAfter: durable, records: [] };
      failed(asForebayError(error));
      doomed = { items, error: asForebayError(error) };
      return;
    }
    if (!items.every((item) => item.isMark === true)) armMark();
  };
  const run = async (): Promise<void> => {
    while (queue.length > 0 || doomed !== null) {
      await step();
      parts.afterBatch();
    }
  };
  const start = (): void => {
    running ??= run().finally(() => {
      running = null;
      if (queue.length > 0) start();
    });
  };
  const append = (item: Item): void => {
    if (closed) {
      item.reject(new ForebayError("closed", "the journal is closed"));
    } else if (queue.length >= bounds.queueMax) {
      item.reject(new ForebayError("overloaded", "too many writes wait for the flash"));
    } else {
      queue.push(item);
      start();
    }
  };
  /** A flush is known to have ended well by the next record only: one more is written when nothing else comes. */
  const armMark = (): void => {
    markTimer?.cancel();
    markTimer = clock.after(bounds.markDelayMs, () => {
      if (queue.length === 0 && !closed) append(markItem(segments));
    });
  };

  return {
    append,
    idle: async () => {
      while (running !== null) await running;
    },
    health: () => health,
    counts,
    close: async () => {
      markTimer?.cancel();
      while (running !== null) await running;
      if (!closed && counts.batches > 0) append(markItem(segments));
      closed = true;
      while (running !== null) await running;
    },
  };
}

/** The batch could neither be made durable nor made void: the next start may find it. */
function unknown(cause: ForebayError): ForebayError {
  return new ForebayError("timeout", `whether the journal will have it is not known: ${cause.message}`, { cause });
}

/** A record, or null where there is none: refused, or not needed any more. */
function prepareOne(item: Item, batch: Batch, record: number): Prepared | "wait" | null {
  try {
    return item.prepare(batch, record);
  } catch (error) {
    item.reject(asForebayError(error));
    return null;
  }
}

function noRoom(segments: Segments): ForebayError {
  const { trouble } = segments;
  if (trouble !== null && trouble.code !== "flash-full") return trouble;
  return new ForebayError("flash-full", "the journal's room is kept for what frees some", { cause: trouble });
}

/** A mark that says only that all before it is durable, and (`oldest`) which files still count. */
export function markItem(
  segments: Segments,
  oldest?: number,
  done?: (error: ForebayError | null) => void,
  room: Room = "free",
): Item {
  return {
    room,
    isMark: true,
    prepare: () => ({ record: markRecord(segments, oldest), apply: () => done?.(null) }),
    reject: (error) => done?.(error),
  };
}

function markRecord(segments: Segments, oldest?: number): RawRecord {
  const mark: Mark = { kind: "mark", oldestSegment: oldest ?? segments.oldest(), voidAfter: 0, voidBefore: 0 };
  return { kind: KIND.mark, subject: 0, said: encodeSaid(mark), inline: null };
}

/** The bytes of a batch as they will stand in the file. */
function layOut(
  head: Head,
  prepared: readonly Prepared[],
  first: number,
  batchBytes: number,
  known: { readonly term: number; readonly durable: number },
): { readonly page: Uint8Array; readonly written: readonly Written[] } {
  const { bytes: page, at: start } = withFilePage(head, batchBytes, first);
  let at = start;
  const written = prepared.map(({ record }, i) => {
    const offset = head.offset + at;
    writeRecord(page, at, offset, first + i, { segment: head.name, ...known }, record);
    at += recordBytes(record);
    return {
      segment: head.name.number,
      file: segmentPath(head.name),
      inlineOffset: offset + inlineOffset(record),
      bytes: recordBytes(record),
    };
  });
  return { page, written };
}
