import { afterAll, describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { beginReading, isCached, preadCached, sawRead, whenRead } from "./page-cache.ts";
import { adviseDontNeed, pinnedBuffer } from "./syscalls.ts";

const MIB = 1 << 20;
const SIZE_BYTES = 8 * MIB + 100;
const EXT4 = 0xef53;
const XFS = 0x58465342;
const CACHESTAT_SINCE = [6, 5] as const;
const folders: string[] = [];

afterAll(() => {
  for (const folder of folders) fs.rmSync(folder, { recursive: true, force: true });
});

/** A file with known bytes that are on the disk. */
function makeFile(parent: string): { fd: number; bytes: Buffer } {
  const folder = fs.mkdtempSync(path.join(parent, "forebay-page-cache-"));
  folders.push(folder);
  const bytes = Buffer.alloc(SIZE_BYTES);
  for (let i = 0; i < SIZE_BYTES; i += 4096) bytes.writeUInt32LE(i, Math.min(i, SIZE_BYTES - 4));
  const name = path.join(folder, "file");
  fs.writeFileSync(name, bytes);
  const fd = fs.openSync(name, "r+");
  fs.fdatasyncSync(fd);
  return { fd, bytes };
}

async function bring(fd: number, offset: number, length: number): Promise<void> {
  beginReading(fd, offset, length);
  await whenRead(fd, offset + length - 1);
}

function drop(fd: number): void {
  fs.fdatasyncSync(fd);
  adviseDontNeed(fd, 0, 0);
}

/** The kernel tells what is cached, and the file system lets go of it. */
const kernelTells = (() => {
  const [major = 0, minor = 0] = os.release().split(".").map(Number);
  const [sinceMajor, sinceMinor] = CACHESTAT_SINCE;
  const isNew = major > sinceMajor || (major === sinceMajor && minor >= sinceMinor);
  return isNew && [EXT4, XFS].includes(fs.statfsSync(os.tmpdir()).type);
})();

describe.if(kernelTells)("on a disk", () => {
  test("what was dropped is not cached, what was read is, page by page", () => {
    const { fd } = makeFile(os.tmpdir());
    expect(isCached(fd, 0, SIZE_BYTES)).toBe(true);
    drop(fd);
    expect(isCached(fd, 0, 1)).toBe(false);
    expect(isCached(fd, SIZE_BYTES - 1, 1)).toBe(false);
    fs.readSync(fd, Buffer.alloc(10_000), 0, 10_000, 4_000_000);
    expect(isCached(fd, 4_000_000, 10_000)).toBe(true);
    expect(isCached(fd, 0, SIZE_BYTES)).toBe(false);
    fs.readSync(fd, Buffer.alloc(SIZE_BYTES), 0, SIZE_BYTES, 0);
    expect(isCached(fd, 0, SIZE_BYTES)).toBe(true);
    expect(isCached(fd, 4097, 1)).toBe(true);
    expect(isCached(fd, SIZE_BYTES - 1, 1)).toBe(true);
    // Nothing is cached behind the end.
    expect(isCached(fd, SIZE_BYTES, 100_000)).toBe(false);
    fs.closeSync(fd);
  });

  test("a part that was dropped shows", () => {
    const { fd } = makeFile(os.tmpdir());
    drop(fd);
    fs.readSync(fd, Buffer.alloc(SIZE_BYTES), 0, SIZE_BYTES, 0);
    adviseDontNeed(fd, 4 * MIB, MIB);
    expect(isCached(fd, 4 * MIB, MIB)).toBe(false);
    expect(isCached(fd, 0, 6 * MIB)).toBe(false);
    fs.closeSync(fd);
  });

  test("what is brought is cached, and its bytes are right", async () => {
    const { fd, bytes } = makeFile(os.tmpdir());
    const into = pinnedBuffer(MIB);
    drop(fd);
    for (let at = 0; at < SIZE_BYTES; at += MIB) {
      const length = Math.min(MIB, SIZE_BYTES - at);
      await bring(fd, at, length);
      expect(preadCached(fd, into, 0, length, at)).toBe(true);
      expect(into.bytes.subarray(0, length).equals(bytes.subarray(at, at + length))).toBe(true);
    }
    expect(isCached(fd, 0, SIZE_BYTES)).toBe(true);
    fs.closeSync(fd);
  });

  test("what is cached stays told, however often a byte was dropped before it was told of", () => {
    const { fd } = makeFile(os.tmpdir());
    for (let i = 0; i < 20; i++) {
      drop(fd);
      sawRead(fd, MIB);
      // One page that counts, and the file system is known to count.
      fs.readSync(fd, Buffer.alloc(1), 0, 1, 2 * MIB);
      expect(isCached(fd, 2 * MIB, 1)).toBe(true);
    }
    drop(fd);
    expect(isCached(fd, 0, SIZE_BYTES)).toBe(false);
    fs.closeSync(fd);
  });

  test("a read without waiting gives nothing of what was dropped", () => {
    const { fd } = makeFile(os.tmpdir());
    drop(fd);
    expect(preadCached(fd, pinnedBuffer(8192), 0, 4096, 5 * MIB)).toBe(false);
    fs.closeSync(fd);
  });
});

test("offsets behind 4 GiB", async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-page-cache-"));
  folders.push(folder);
  const fd = fs.openSync(path.join(folder, "sparse"), "w+");
  const at = 5 * 1024 * MIB + 123;
  fs.writeSync(fd, Buffer.from("far out"), 0, 7, at);
  expect(isCached(fd, at, 7)).toBe(true);
  const into = pinnedBuffer(64);
  expect(preadCached(fd, into, 3, 7, at)).toBe(true);
  expect(into.bytes.toString("latin1", 0, 10)).toBe("\0\0\0far out");
  drop(fd);
  await bring(fd, at, 7);
  expect(preadCached(fd, into, 0, 7, at)).toBe(true);
  fs.closeSync(fd);
});

test("fewer bytes than asked for are no read, whatever stands behind the end", () => {
  const { fd } = makeFile(os.tmpdir());
  const into = pinnedBuffer(8192);
  expect(preadCached(fd, into, 0, 101, SIZE_BYTES - 100)).toBe(false);
  expect(preadCached(fd, into, 0, 1, SIZE_BYTES)).toBe(false);
  expect(preadCached(fd, into, 0, 100, SIZE_BYTES - 100)).toBe(true);
  fs.closeSync(fd);
});

test("bringing ends, too, for what cannot be read", async () => {
  const { fd } = makeFile(os.tmpdir());
  await bring(fd, SIZE_BYTES + 5 * MIB, MIB);
  fs.closeSync(fd);
  await bring(fd, 0, MIB);
});

test.if(fs.existsSync("/dev/shm"))("a file system in memory always has it, by the second look", async () => {
  const { fd, bytes } = makeFile("/dev/shm");
  const into = pinnedBuffer(MIB);
  // The first may have found that reads without waiting are refused there.
  isCached(fd, 0, SIZE_BYTES);
  preadCached(fd, into, 0, 1, 0);
  drop(fd);
  expect(isCached(fd, 0, SIZE_BYTES)).toBe(true);
  await bring(fd, 0, SIZE_BYTES);
  expect(preadCached(fd, into, 0, MIB, 3 * MIB)).toBe(true);
  expect(into.bytes.equals(bytes.subarray(3 * MIB, 4 * MIB))).toBe(true);
  fs.closeSync(fd);
});
