/** The flash file of one cached blob: where it is, and taking it out of the page cache. */
import { closeSync, fdatasyncSync, openSync } from "node:fs";
import { join } from "node:path";
import { filePath } from "../../src/flash/files.ts";
import { openIndexReader } from "../../src/flash/index.ts";
import { INDEX_FILE } from "../../src/flash/index-schema.ts";
import { realClock } from "../../src/io/clock.ts";
import { isCached } from "../../src/io/page-cache.ts";
import { adviseDontNeed } from "../../src/io/syscalls.ts";

const MIB = 1 << 20;
const WAIT_MS = 50;
const WAITS_MAX = 400;
const DROPS_MAX = 20;

/** The file of `key` (`ACCOUNT/CONTAINER/BLOB`) once all of it is there. */
export async function flashFileOf(flash: string, key: string): Promise<string> {
  const index = openIndexReader(join(flash, INDEX_FILE), realClock);
  try {
    for (let wait = 0; wait < WAITS_MAX; wait++) {
      const version = index.lookup(key);
      const [span, more] = version?.spans ?? [];
      if (version?.present === null && span !== undefined && more === undefined) {
        return join(flash, filePath(span.fileId));
      }
      await Bun.sleep(WAIT_MS);
    }
    throw new Error(`${key} did not come to flash as one file`);
  } finally {
    index.close();
  }
}

/** Takes a file out of the page cache. False where the file system keeps it all the same. */
export async function dropFromCache(path: string, sizeBytes: number): Promise<boolean> {
  const fd = openSync(path, "r+");
  try {
    // What is dirty, or being read at this moment, stays.
    for (let drop = 0; drop < DROPS_MAX; drop++) {
      fdatasyncSync(fd);
      adviseDontNeed(fd, 0, 0);
      if (!anyCached(fd, sizeBytes)) return true;
      await Bun.sleep(WAIT_MS);
    }
    return false;
  } finally {
    closeSync(fd);
  }
}

function anyCached(fd: number, sizeBytes: number): boolean {
  for (let at = 0; at < sizeBytes; at += MIB) if (isCached(fd, at, Math.min(MIB, sizeBytes - at))) return true;
  return false;
}
