/** Reading the journal's files back: whole, and as far as the flash gives them. */
import { ForebayError, hasCode } from "../base/errors.ts";
import { MIB } from "../base/limits.ts";
import type { Disk } from "../io/disk.ts";
import { hexOf } from "./bytes.ts";
import {
  JOURNAL_FORMAT,
  PAGE_BYTES,
  parseSegmentFile,
  readFilePage,
  type Scan,
  type SegmentName,
  scanFile,
} from "./frame.ts";
import { JOURNAL_FOLDER, segmentPath } from "./segments.ts";
import type { Place } from "./types.ts";

/** A file as it was found. */
export interface ReadFile {
  readonly name: SegmentName;
  readonly bytes: number;
  readonly scan: Scan;
  /** The number of its first record, if its first page can be read. */
  readonly firstRecord: number | null;
  /** Nothing but zeros. */
  readonly blank: boolean;
}

/** The names of the journal's files, in order. Throws `config` if they are of several journals. */
export function journalFiles(disk: Disk): SegmentName[] {
  const names = disk
    .list(JOURNAL_FOLDER)
    .map(parseSegmentFile)
    .filter((name) => name !== null)
    .sort((a, b) => a.number - b.number);
  if (new Set(names.map((name) => name.journal)).size <= 1) return names;
  throw new ForebayError(
    "config",
    `${disk.root}/${JOURNAL_FOLDER} has files of several journals: keep those of one, and move the others elsewhere`,
  );
}

/** One file with its records. Throws `config` for a format that is not known. */
export async function readJournalFile(disk: Disk, name: SegmentName): Promise<ReadFile | null> {
  const bytes = await readWhole(disk, segmentPath(name));
  if (bytes === null) return null;
  const page = readFilePage(bytes, name);
  if (page !== null && page.format !== JOURNAL_FORMAT) {
    throw new ForebayError(
      "config",
      `the journal in ${disk.root}/${JOURNAL_FOLDER} has format ${page.format}, this version knows ${JOURNAL_FORMAT}: ` +
        "start the Forebay that wrote it, flush it, and start this one again",
    );
  }
  const blank = page === null && bytes.every((byte) => byte === 0);
  return { name, bytes: bytes.length, scan: scanFile(bytes, name), firstRecord: page?.firstRecord ?? null, blank };
}

async function readWhole(disk: Disk, path: string): Promise<Uint8Array | null> {
  const size = disk.sizeOf(path);
  if (size === null) return null;
  let fd: number;
  try {
    fd = disk.open(path, "read");
  } catch (error) {
    if (hasCode(error, "gone")) return null;
    throw error;
  }
  try {
    const bytes = new Uint8Array(size);
    for (let at = 0; at < size; at += MIB) await readPatiently(disk, fd, bytes.subarray(at, at + MIB), at);
    return bytes;
  } finally {
    disk.close(fd);
  }
}

/** Pages that cannot be read stay zeros: their records are then missed, and reported. */
async function readPatiently(disk: Disk, fd: number, bytes: Uint8Array, offset: number): Promise<void> {
  if (await readAll(disk, fd, bytes, offset)) return;
  for (let at = 0; at < bytes.length; at += PAGE_BYTES) {
    const page = bytes.subarray(at, at + PAGE_BYTES);
    for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
      if (await readAll(disk, fd, page, offset + at)) break;
      page.fill(0);
    }
  }
}

const READ_ATTEMPTS = 3;

async function readAll(disk: Disk, fd: number, bytes: Uint8Array, offset: number): Promise<boolean> {
  try {
    for (let done = 0; done < bytes.length; ) {
      const count = await disk.read(fd, bytes.subarray(done), offset + done);
      if (count === 0) break;
      done += count;
    }
    return true;
  } catch (error) {
    if (hasCode(error, "flash-failed")) return false;
    throw error;
  }
}

/** Inline bytes. Null: they are not what was written. Throws `gone` if the file is not there any more. */
export async function readPlace(disk: Disk, place: Place): Promise<Uint8Array | null> {
  const fd = disk.open(place.file, "read");
  try {
    const bytes = new Uint8Array(place.length);
    for (let done = 0; done < bytes.length; ) {
      const count = await disk.read(fd, bytes.subarray(done), place.offset + done);
      if (count === 0) return null;
      done += count;
    }
    return hexOf(Bun.hash.xxHash64(bytes)) === place.checksum ? bytes : null;
  } finally {
    disk.close(fd);
  }
}
