/** What the files of a flash folder take, against what the index says of them. */
import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { allocatedBytes, blockCount, blockLength, isPresent } from "../../src/flash/files.ts";
import { openIndexReader } from "../../src/flash/index-reader.ts";
import { INDEX_FILE } from "../../src/flash/index-schema.ts";
import type { VersionRecord } from "../../src/flash/types.ts";
import { realClock } from "../../src/io/clock.ts";

export interface Footprint {
  /** Files of no version in the index. */
  readonly orphans: readonly string[];
  /** Bytes of blocks that the index knows. */
  readonly countedBytes: number;
  /** Bytes beside them: brought for a keeper that fell before it heard of them. They go with their version. */
  readonly uncountedBytes: number;
}

/** Looks at a folder at rest, in which there may be versions of `keys` only. */
export function footprintOf(flash: string, keys: readonly string[]): Footprint {
  const index = openIndexReader(join(flash, INDEX_FILE), realClock);
  const records = new Map<string, VersionRecord>();
  for (const key of keys) {
    const record = index.lookup(key);
    for (const span of record?.spans ?? []) if (record) records.set(String(span.fileId), record);
  }
  index.close();
  const orphans: string[] = [];
  let [countedBytes, uncountedBytes] = [0, 0];
  const files = join(flash, "files");
  for (const folder of readdirSync(files)) {
    for (const name of readdirSync(join(files, folder))) {
      const record = records.get(name);
      if (record === undefined) orphans.push(name);
      else {
        const known = presentBytes(record);
        countedBytes += known;
        uncountedBytes += Math.max(0, statSync(join(files, folder, name)).blocks * 512 - known);
      }
    }
  }
  return { orphans, countedBytes, uncountedBytes };
}

function presentBytes(record: VersionRecord): number {
  let bytes = 0;
  for (let b = 0; b < blockCount(record); b++)
    if (isPresent(record, b)) bytes += allocatedBytes(blockLength(record, b));
  return bytes;
}
