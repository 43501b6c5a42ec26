/**
 * Start: the records of all files, sorted out, and what they come to.
 *
 * Each record says up to which number all were durable when it was made. The highest such number parts what must be
 * there (a record missing or bad below it is *damage*, and reported) from what nobody was told of yet (a record missing
 * or bad above it is a torn end; a good one is kept, its caller's outcome being unknown). What is good and above may
 * stand only in the page cache of a process that was killed, so it is written again, in one batch behind a mark that
 * makes the old records void. Until that batch is known to be durable, it is the old records that count.
 */
import type { Disk } from "../io/disk.ts";
import type { FoundRecord, SegmentName } from "./frame.ts";
import { type ReadFile, readJournalFile } from "./read-files.ts";
import { decodeSaid, type Mark, type Said } from "./records.ts";
import { createReplay, type Living } from "./replay.ts";
import { segmentPath } from "./segments.ts";
import type { Damage, Entry, Place, Recovery, StagedBlock } from "./types.ts";

/** A good record that is not known to be durable. */
export interface Unconfirmed {
  readonly said: Said;
  readonly inline: Place | null;
}

export interface Recovered {
  readonly entries: readonly Living<Entry>[];
  readonly blocks: readonly Living<StagedBlock>[];
  /** Files with records that count, oldest first. */
  readonly files: readonly { readonly number: number; readonly bytes: number }[];
  /** Files to be removed. */
  readonly dead: readonly SegmentName[];
  /** A file of zeros, newer than all others. */
  readonly blank: number | null;
  /** The records after `durable` are void: what they said is `unconfirmed`. */
  readonly durable: number;
  readonly nextRecord: number;
  readonly unconfirmed: readonly Unconfirmed[];
  readonly term: number;
  /** Files before this one hold damage: what lives in them is to be written elsewhere. */
  readonly damagedBefore: number;
  readonly report: Recovery;
}

/** A record with the file that it stands in. */
interface Located {
  readonly file: ReadFile;
  readonly record: FoundRecord;
  readonly said: Said | null;
  readonly inline: Place | null;
}

/** Reads the files `names` (sorted). Throws `config` for an unknown format. */
export async function recover(disk: Disk, names: readonly SegmentName[], nowMs: number): Promise<Recovered> {
  const files: ReadFile[] = [];
  for (const name of names) {
    const file = await readJournalFile(disk, name);
    if (file !== null) files.push(file);
  }
  const located = files.flatMap((file) => file.scan.records.map((record) => locate(file, record)));
  located.sort((a, b) => a.record.number - b.record.number);
  const oldest = marksOf(located).reduce((max, { mark }) => Math.max(max, mark.oldestSegment), 0);
  const live = files.filter((file) => file.name.number >= oldest && file.scan.records.length > 0);
  const durable = located.reduce((max, { record }) => Math.max(max, record.durable), 0);
  const last = located.reduce((max, { record }) => Math.max(max, record.number), 0);
  const isVoid = voidTest(located, durable);
  const kept = located.filter(({ file, record }) => file.name.number >= oldest && !isVoid(record.number));
  const damage = findDamage(kept, durable, isVoid, live[0]?.firstRecord ?? null);
  const replay = createReplay();
  const unconfirmed: Unconfirmed[] = [];
  for (const one of kept) {
    const isDurable = one.record.number <= durable;
    if (one.said === null || (one.record.inlineBad && !isDurable)) continue;
    replay.take(one.said, { segment: one.file.name.number, bytes: one.record.bytes });
    if (!isDurable && one.said.kind !== "mark") unconfirmed.push({ said: one.said, inline: one.inline });
  }
  const entries = replay.entries(damage.length > 0, nowMs);
  const blocks = replay.blocks();
  const newest = live.at(-1)?.name.number ?? 0;
  const blank = files.find((file) => file.blank && file.name.number > newest)?.name.number ?? null;
  return {
    entries,
    blocks,
    files: live.map(({ name, bytes }) => ({ number: name.number, bytes })),
    dead: files.filter((file) => !live.includes(file) && file.name.number !== blank).map(({ name }) => name),
    blank,
    durable,
    nextRecord: last + 1,
    unconfirmed,
    term: located.reduce((max, { record }) => Math.max(max, record.term), 0),
    damagedBefore: damage.length > 0 ? newest + 1 : 0,
    report: {
      segments: live.length,
      records: kept.length,
      entries: entries.length,
      stagedBlocks: blocks.length,
      keptUnconfirmed: unconfirmed.length,
      tornBytes: tornBytes(files, kept, durable),
      damage,
    },
  };
}

function locate(file: ReadFile, record: FoundRecord): Located {
  const inline = record.inline === null ? null : { file: segmentPath(file.name), ...record.inline };
  const said = record.said === null ? null : decodeSaid(record.kind, record.said, inline);
  return { file, record, said, inline };
}

function marksOf(located: readonly Located[]): { readonly mark: Mark; readonly number: number }[] {
  return located.flatMap(({ said, record }) => (said?.kind === "mark" ? [{ mark: said, number: record.number }] : []));
}

/** Which records never happened, or are not to count. */
function voidTest(located: readonly Located[], durable: number): (record: number) => boolean {
  const voiding = marksOf(located).filter(({ mark }) => mark.voidBefore > 0);
  const ranges = voiding.filter(({ number }) => number <= durable).map(({ mark }) => mark);
  const inRange = (record: number): boolean =>
    ranges.some(({ voidAfter, voidBefore }) => record > voidAfter && record < voidBefore);
  // A mark that is not known to be durable was alone with what it replaces: nothing that was answered came after it.
  const cut = voiding
    .filter(({ number }) => number > durable && !inRange(number))
    .reduce((min, { number }) => Math.min(min, number), Number.POSITIVE_INFINITY);
  return (record) => record >= cut || inRange(record);
}

/** What must be there and is not, or not whole. `kept` is in order. */
function findDamage(
  kept: readonly Located[],
  durable: number,
  isVoid: (record: number) => boolean,
  firstRecord: number | null,
): Damage[] {
  const damage: Damage[] = [];
  const missing = (first: number, last: number): void => {
    let from = first;
    for (let n = first; n <= last + 1; n++) {
      if (n <= last && !isVoid(n)) continue;
      if (n > from) damage.push(lost(null, from, n - 1, null));
      from = n + 1;
    }
  };
  let expected = firstRecord ?? kept[0]?.record.number ?? durable + 1;
  for (const { file, record, said } of kept) {
    if (record.number > durable) break;
    missing(expected, record.number - 1);
    expected = Math.max(expected, record.number + 1);
    const path = segmentPath(file.name);
    if (said === null) damage.push(lost(path, record.number, record.number, record.subject));
    else if (record.inlineBad && said.kind === "entry") {
      const { seq, name } = said.entry;
      const { number } = record;
      damage.push({ file: path, firstRecord: number, lastRecord: number, what: "content", seq, name });
    }
  }
  missing(expected, durable);
  return damage;
}

function lost(file: string | null, firstRecord: number, lastRecord: number, subject: number | null): Damage {
  const seq = subject === null || subject === 0 ? null : subject;
  return { file, firstRecord, lastRecord, what: "lost", seq, name: null };
}

function tornBytes(files: readonly ReadFile[], kept: readonly Located[], durable: number): number {
  const bad = kept.filter(({ record, said }) => record.number > durable && (said === null || record.inlineBad));
  const behind = files.filter((file) => !file.blank).at(-1)?.scan.strayBehind ?? 0;
  return bad.reduce((sum, { record }) => sum + record.bytes, behind);
}
