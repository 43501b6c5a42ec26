/** A file of the simulated disk: pages as they are, pages as they are on stable storage, and which sectors differ. */
import type { Random } from "../src/base/random.ts";

const PAGE_BYTES = 4096;
const SECTOR_BYTES = 512;

/** A copy with a buffer of its own. */
export function copyOf(bytes: Uint8Array): Uint8Array {
  return new Uint8Array(bytes);
}

/** A flush under way. It covers what was there when it began. */
export interface SimSync {
  succeed(): void;
  /** Some of it was written, some is lost for good, and no later flush tries again. */
  fail(random: Random): void;
}

export interface SimFile {
  readonly isFolder: boolean;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
  /** How much more a write would allocate. */
  growthBytes(offset: number, length: number): number;
  read(bytes: Uint8Array, offset: number): number;
  write(bytes: Uint8Array, offset: number): void;
  beginSync(): SimSync;
  losePower(random: Random): void;
  flipBit(offset: number, bit: number): boolean;
}

type Pages = Map<number, Uint8Array>;

function pageOf(pages: Pages, index: number): Uint8Array {
  let page = pages.get(index);
  if (page === undefined) {
    page = new Uint8Array(PAGE_BYTES);
    pages.set(index, page);
  }
  return page;
}

/** Calls `run` for each page touched by [offset, offset + length). */
function eachPage(
  offset: number,
  length: number,
  run: (page: number, at: number, from: number, count: number) => void,
) {
  for (let done = 0; done < length; ) {
    const page = Math.floor((offset + done) / PAGE_BYTES);
    const at = offset + done - page * PAGE_BYTES;
    const count = Math.min(PAGE_BYTES - at, length - done);
    run(page, at, done, count);
    done += count;
  }
}

function copySector(from: Pages, to: Pages, sector: number): void {
  const offset = sector * SECTOR_BYTES;
  const page = Math.floor(offset / PAGE_BYTES);
  const at = offset - page * PAGE_BYTES;
  const bytes = from.get(page)?.subarray(at, at + SECTOR_BYTES) ?? new Uint8Array(SECTOR_BYTES);
  pageOf(to, page).set(bytes, at);
}

/** An empty file, or a folder's stand-in. */
export function createSimFile(isFolder = false): SimFile {
  let pages: Pages = new Map();
  const stable: Pages = new Map();
  let sizeBytes = 0;
  let stableBytes = 0;
  const dirty = new Set<number>(); // sectors

  return {
    isFolder,
    get sizeBytes() {
      return sizeBytes;
    },
    get allocatedBytes() {
      return pages.size * PAGE_BYTES;
    },
    growthBytes: (offset, length) => {
      let bytes = 0;
      eachPage(offset, length, (page) => {
        if (!pages.has(page)) bytes += PAGE_BYTES;
      });
      return bytes;
    },
    read: (bytes, offset) => {
      const length = Math.max(0, Math.min(bytes.length, sizeBytes - offset));
      eachPage(offset, length, (page, at, from, count) => {
        const found = pages.get(page);
        if (found === undefined) bytes.fill(0, from, from + count);
        else bytes.set(found.subarray(at, at + count), from);
      });
      return length;
    },
    write: (bytes, offset) => {
      eachPage(offset, bytes.length, (page, at, from, count) => {
        pageOf(pages, page).set(bytes.subarray(from, from + count), at);
      });
      const last = Math.floor((offset + bytes.length - 1) / SECTOR_BYTES);
      for (let sector = Math.floor(offset / SECTOR_BYTES); sector <= last; sector++) dirty.add(sector);
      sizeBytes = Math.max(sizeBytes, offset + bytes.length);
    },
    beginSync: () => {
      const sectors = [...dirty];
      const then: Pages = new Map();
      for (const sector of sectors) copySector(pages, then, sector);
      const size = sizeBytes;
      const settle = (sector: number): void => {
        copySector(then, stable, sector);
        stableBytes = Math.max(stableBytes, size);
      };
      return {
        succeed: () => {
          stableBytes = Math.max(stableBytes, size);
          for (const sector of sectors) {
            settle(sector);
            if (sameSector(pages, then, sector)) dirty.delete(sector);
          }
        },
        fail: (random) => {
          for (const sector of sectors) {
            if (random.chance(0.5)) settle(sector);
            dirty.delete(sector);
          }
        },
      };
    },
    losePower: (random) => {
      // The length and each sector fare by themselves: data may be lost behind a length that was kept.
      if (random.chance(0.5)) stableBytes = sizeBytes;
      for (const sector of dirty) if (random.chance(0.5)) copySector(pages, stable, sector);
      dirty.clear();
      sizeBytes = stableBytes;
      pages = new Map([...stable].map(([index, page]) => [index, copyOf(page)]));
      cutPages(pages, sizeBytes);
      cutPages(stable, sizeBytes);
    },
    flipBit: (offset, bit) => {
      if (offset >= sizeBytes) return false;
      const index = Math.floor(offset / PAGE_BYTES);
      const at = offset - index * PAGE_BYTES;
      for (const where of [pages, stable]) {
        const page = where.get(index);
        if (page !== undefined) page[at] = (page[at] ?? 0) ^ (1 << (bit & 7));
      }
      return pages.has(index);
    },
  };
}

function sameSector(a: Pages, b: Pages, sector: number): boolean {
  const offset = sector * SECTOR_BYTES;
  const page = Math.floor(offset / PAGE_BYTES);
  const at = offset - page * PAGE_BYTES;
  const [left, right] = [a.get(page), b.get(page)];
  if (left === undefined || right === undefined) return left === right;
  return Buffer.compare(left.subarray(at, at + SECTOR_BYTES), right.subarray(at, at + SECTOR_BYTES)) === 0;
}

/** Removes what lies past the end. */
function cutPages(pages: Pages, sizeBytes: number): void {
  for (const [index, page] of [...pages]) {
    const start = index * PAGE_BYTES;
    if (start >= sizeBytes) pages.delete(index);
    else if (start + PAGE_BYTES > sizeBytes) page.fill(0, sizeBytes - start);
  }
}
