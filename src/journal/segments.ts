/**
 * The files of the journal: the one being written, a spare one, and those closed. Each is filled with zeros and
 * flushed, name included, before its first record: a flush of records then changes nothing but their bytes, and finds
 * room on a full disk. A file is never written again once closed, and never given a name that another had.
 *
 * On a full disk new writes end while the current file has its reserve and one spare file is there. The reserve is for
 * moves and marks; the spare file for carrying the oldest one forward, which gives a file back.
 */
import { asForebayError, ForebayError } from "../base/errors.ts";
import { MIB } from "../base/limits.ts";
import type { Disk } from "../io/disk.ts";
import { PAGE_BYTES, type SegmentName, segmentFile, writeFilePage } from "./frame.ts";

/** The folder of all files, below the flash folder. */
export const JOURNAL_FOLDER = "journal";
const ZEROS = new Uint8Array(MIB);

/** The file that is being written. */
export interface Head {
  readonly name: SegmentName;
  readonly fd: number;
  /** Where the next batch goes. 0: not even its first page is there. */
  offset: number;
}

/** Whose room it is: new writes, records carried forward, or moves and marks, which may end something. */
export type Room = "new" | "carry" | "free";

export interface Segments {
  /** The most that one batch may take whose records are of this kind. */
  room(kind: Room): number;
  /** Sees to it that a spare file is there or on its way, and another if the current one has less than `bytes` left. */
  refresh(bytes: number): Promise<void>;
  /** The disk is full and the current file nearly is. */
  readonly tight: boolean;
  /** Whether records are being carried forward: moves then leave the last file to them. */
  carrying: boolean;
  /** A file with room for a batch of `bytes`: the current one, or the spare one, which takes its place. */
  headFor(bytes: number): Head;
  /** Writes `bytes` behind what is there and waits until they are on stable storage. */
  write(head: Head, bytes: Uint8Array): Promise<void>;
  /** Nothing more is written to the current file. Not while something is being written. */
  seal(): void;
  /** The next batch begins another file. Gives the number of the current one; null: there is no other. */
  retire(): number | null;
  /** Closed files, oldest first. */
  closed(): readonly number[];
  /** The lowest number that still counts. */
  oldest(): number;
  /** Unlinks the closed files before `number`. */
  removeBefore(number: number): number;
  /** Why there is no spare file; null: there is, or nobody asked. */
  readonly trouble: ForebayError | null;
  readonly count: number;
  readonly diskBytes: number;
  /** Bytes that records were written to, padding included. */
  readonly usedBytes: number;
  close(): Promise<void>;
}

export interface SegmentsParts {
  readonly disk: Disk;
  readonly journal: string;
  readonly segmentBytes: number;
  readonly reserveBytes: number;
  readonly batchBytesMax: number;
  /** Closed files that were found, oldest first, with their lengths. */
  readonly found: readonly { readonly number: number; readonly bytes: number }[];
  /** A file of zeros that was found: made the spare one, whatever of it had reached the disk. */
  readonly adopt: number | null;
  /** Numbers from here on were never used. */
  readonly nextNumber: number;
}

export function segmentPath(name: SegmentName): string {
  return `${JOURNAL_FOLDER}/${segmentFile(name)}`;
}

export function createSegments(parts: SegmentsParts): Segments {
  const { disk, journal, segmentBytes } = parts;
  const closed = new Map(parts.found.map(({ number, bytes }) => [number, bytes]));
  let head: Head | null = null;
  const spares: Head[] = [];
  let preparing: Promise<void> | null = null;
  let adopt = parts.adopt;
  let nextNumber = parts.nextNumber;
  let trouble: ForebayError | null = null;
  let stopped = false;
  let carrying = false;
  let retired = false;

  const headLeft = (): number => (head === null || retired ? 0 : segmentBytes - Math.max(head.offset, PAGE_BYTES));

  const closedBytes = (): number => [...closed.values()].reduce((sum, bytes) => sum + bytes, 0);

  const prepare = async (): Promise<void> => {
    const old = adopt;
    adopt = null;
    try {
      if (old === null && disk.space().freeBytes < segmentBytes) {
        throw new ForebayError("flash-full", "no room for another file of the journal");
      }
      const name = { number: old ?? nextNumber++, journal };
      const fd = await makeFile(disk, name, old === null, segmentBytes);
      if (stopped) disk.close(fd);
      else spares.push({ name, fd, offset: 0 });
      trouble = null;
    } catch (error) {
      trouble = asForebayError(error);
    }
  };
  const startPreparing = (): Promise<void> => {
    preparing ??= prepare().finally(() => {
      preparing = null;
    });
    return preparing;
  };
  const seal = (): void => {
    if (head === null) return;
    disk.close(head.fd);
    closed.set(head.name.number, segmentBytes);
    head = null;
    retired = false;
  };

  return {
    room: (kind) => {
      if (spares.length > 1 || (kind === "carry" && spares.length > 0)) return segmentBytes - PAGE_BYTES;
      if (kind === "new") return spares.length === 0 ? 0 : Math.max(0, headLeft() - parts.reserveBytes);
      return kind === "free" && spares.length === 0 && carrying ? 0 : headLeft();
    },
    refresh: async (bytes) => {
      const needsTwo = headLeft() < bytes;
      for (let wanted = (needsTwo ? 2 : 1) - spares.length; wanted > 0 && !stopped; wanted--) {
        const prepared = startPreparing();
        if (!needsTwo) return;
        await prepared;
      }
    },
    get tight() {
      if (trouble === null || spares.length > 1) return false;
      return spares.length === 0 || headLeft() < parts.reserveBytes + parts.batchBytesMax;
    },
    get carrying() {
      return carrying;
    },
    set carrying(value) {
      carrying = value;
    },
    headFor: (bytes) => {
      if (head !== null && bytes <= headLeft()) return head;
      const spare = spares.shift();
      if (spare === undefined) throw trouble ?? new ForebayError("flash-full", "the journal has no room");
      seal();
      head = spare;
      return head;
    },
    write: async (into, bytes) => {
      await disk.write(into.fd, bytes, into.offset);
      await disk.syncFile(into.fd);
      into.offset += bytes.length;
    },
    seal,
    retire: () => {
      if (head === null || spares.length === 0) return null;
      retired = true;
      return head.name.number;
    },
    closed: () => [...closed.keys()],
    oldest: () => [...closed.keys()][0] ?? head?.name.number ?? spares[0]?.name.number ?? nextNumber,
    removeBefore: (number) => {
      const old = [...closed.keys()].filter((n) => n < number);
      for (const n of old) {
        removeQuietly(disk, { number: n, journal });
        closed.delete(n);
      }
      return old.length;
    },
    get trouble() {
      return trouble;
    },
    get count() {
      return closed.size + (head === null ? 0 : 1) + spares.length;
    },
    get diskBytes() {
      return closedBytes() + ((head === null ? 0 : 1) + spares.length) * segmentBytes;
    },
    get usedBytes() {
      return closedBytes() + (head?.offset ?? 0);
    },
    close: async () => {
      stopped = true;
      await preparing;
      if (head !== null) disk.close(head.fd);
      for (const { fd } of spares.splice(0)) disk.close(fd);
      head = null;
    },
  };
}

/** Makes a file of zeros, durable with its name. What fails half-way is removed. */
async function makeFile(disk: Disk, name: SegmentName, isNew: boolean, segmentBytes: number): Promise<number> {
  const fd = disk.open(segmentPath(name), isNew ? "create" : "write");
  try {
    for (let at = 0; at < segmentBytes; at += ZEROS.length) {
      await disk.write(fd, ZEROS.subarray(0, Math.min(ZEROS.length, segmentBytes - at)), at);
    }
    await disk.syncFile(fd);
    await disk.syncFolder(JOURNAL_FOLDER);
    return fd;
  } catch (error) {
    disk.close(fd);
    removeQuietly(disk, name);
    throw error;
  }
}

/** A file that cannot be removed now is removed at the next start: it counts no more. */
export function removeQuietly(disk: Disk, name: SegmentName): void {
  try {
    disk.unlink(segmentPath(name));
  } catch {
    // It stays: nothing in it is read again.
  }
}

/** The first page of a file together with the first batch, or the batch alone. */
export function withFilePage(
  head: Head,
  batchBytes: number,
  firstRecord: number,
): { readonly bytes: Uint8Array; readonly at: number } {
  if (head.offset > 0) return { bytes: new Uint8Array(batchBytes), at: 0 };
  const bytes = new Uint8Array(PAGE_BYTES + batchBytes);
  writeFilePage(bytes, head.name, firstRecord);
  return { bytes, at: PAGE_BYTES };
}
