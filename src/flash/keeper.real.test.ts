/** The keeper on a real folder: real SQLite, real files, a real flush, and a server that reads the index for itself. */
import { expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { limits, MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { realClock } from "../io/clock.ts";
import { type Disk, realDisk } from "../io/disk.ts";
import { openFolderSync } from "../io/sync-folder.ts";
import { adviseDontNeed } from "../io/syscalls.ts";
import { blockCount, blockLength, checksumOf, filePath } from "./files.ts";
import { openFlashIndex } from "./index-open.ts";
import { openIndexReader } from "./index-reader.ts";
import { INDEX_FILE } from "./index-schema.ts";
import { createFlashKeeper } from "./keeper.ts";
import type { LocalFlashKeeper } from "./keeper-types.ts";
import { createReadFiles } from "./read-files.ts";
import type { VersionRecord } from "./types.ts";

const EPOCH = "epoch-1";
const bytes = seededRandom(20260106).fill(new Uint8Array(2 * MIB + 12_345));

async function fill(keeper: LocalFlashKeeper, disk: Disk, key: string, content: Uint8Array): Promise<VersionRecord> {
  const generation = [0, 0, 0] as const;
  const request = { holder: "s", key, variantId: "get", sentAtMsMin: 0, generation, epoch: EPOCH };
  const acquired = await keeper.acquire(request);
  if (acquired.kind !== "lease") throw new Error(acquired.kind);
  const variant = { id: "get", headers: ["a", "b"], sentAtMs: realClock.monotonicMs(), generation, epoch: EPOCH };
  const published = await keeper.publish({ lease: acquired.lease, etag: "e", sizeBytes: content.length, variant });
  if (published.kind !== "record") throw new Error(published.reason);
  const { record } = published;
  const claimed = await keeper.claim("s", record.id, 0, blockCount(record));
  const fd = disk.open(filePath(record.id), "write");
  for (const block of claimed?.granted ?? []) {
    const start = block * record.blockBytes;
    const part = content.subarray(start, start + blockLength(record, block));
    await disk.write(fd, part, start);
    await keeper.filled(record.id, [{ block, checksum: checksumOf(part) }]);
  }
  disk.close(fd);
  return record;
}

test("what was committed is found by another process' life, whole and scrubbed", async () => {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-keeper-"));
  const sync = openFolderSync(root, () => {});
  const disk = realDisk(root, () => sync.sync());
  const lines: string[] = [];
  const open = () =>
    createFlashKeeper({
      disk,
      openIndex: () => openFlashIndex(path.join(root, INDEX_FILE), (_l, message) => lines.push(message)),
      clock: realClock,
      generations: { current: () => [0, 0, 0] },
      epoch: EPOCH,
      visited: new Uint8Array(1024),
      flashBytesMax: 64 * MIB,
      log: (_level, message) => lines.push(message),
      dropCached: adviseDontNeed,
      bounds: { reserveBytesMin: 0 },
    });
  try {
    const first = await open();
    const record = await fill(first, disk, "a/c/blob", bytes);
    await first.stop();
    const lost = path.join(root, filePath(record.id + 256));
    fs.writeFileSync(lost, "an orphan of an earlier life");

    const keeper = await open();
    const reader = openIndexReader(path.join(root, INDEX_FILE), realClock);
    const files = createReadFiles(disk, limits.openFilesMax);
    keeper.subscribe("s", { evicted: (fileIds) => files.release(fileIds) });
    const found = reader.lookup("a/c/blob");
    expect(found).toMatchObject({ id: record.id, present: null, sizeBytes: bytes.length });
    const fd = files.pin(record.id);
    const read = new Uint8Array(bytes.length);
    expect(disk.readNow(fd, read, 0)).toBe(bytes.length);
    expect(Buffer.compare(read, bytes)).toBe(0);
    files.unpin(record.id);
    expect(await keeper.scrubStep()).toBe(3);
    await keeper.sweepOrphans();
    expect(fs.existsSync(lost)).toBe(false);
    await keeper.drop("a/c/blob", record.id, "deleted");
    expect(reader.lookup("a/c/blob")).toBeNull();
    await keeper.flush();
    expect(fs.existsSync(path.join(root, filePath(record.id)))).toBe(false);
    expect(files.openCount).toBe(0);
    expect(keeper.stats()).toMatchObject({ scrubbedBlocks: 3, scrubBadBlocks: 0, versions: 0, storedBytes: 0 });
    reader.close();
    await keeper.stop();
    expect(lines).toEqual([]);
  } finally {
    sync.close();
    fs.rmSync(root, { recursive: true, force: true });
  }
});
