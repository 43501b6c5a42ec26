/**
 * Ids of versions, files and marks: increasing, never given twice, not even after a power loss or the loss of the
 * index, because descriptors, marks of visit and files of earlier lives may still bear them. A range is taken durably
 * in the file `ids` before its first id is given. The file has two slots in sectors of their own, written in turn, so
 * that a torn write costs nothing but the range it was about.
 */
import { assert } from "../base/assert.ts";
import type { Disk } from "../io/disk.ts";
import { checksumOf, FILE_FOLDERS, FILES_FOLDER, folderPath } from "./files.ts";
import { readSmall, writeSmall } from "./folder.ts";

export const IDS_FILE = "ids";
const SLOT_BYTES = 512;

/** Added to the highest id found when the file `ids` is lost: ids above it may have been given to nothing stored. */
const LOST_JUMP = 2 ** 32;

export interface IdSource {
  /** Ids below this were given in earlier lives. */
  readonly firstOfThisLife: number;
  /** Where the ids of the next life begin, if it begins now. */
  readonly firstOfNextLife: number;
  /** Resolves when {@link next} can give an id. Rejects when the flash fails. */
  ready(): Promise<void>;
  next(): number;
}

/**
 * Opens the ids of a folder. `indexIdMax` is the highest id that the index knows. `freshFloor` is where the ids of a
 * new folder begin: later than those of any folder before it, because servers may still hold files of one that was
 * removed while they ran.
 */
export async function openIds(disk: Disk, indexIdMax: number, reserved: number, freshFloor = 1): Promise<IdSource> {
  const stored = readSlots(disk);
  const lost = stored === null && (indexIdMax > 0 || disk.list(FILES_FOLDER).length > 0);
  const floor = lost
    ? Math.max(indexIdMax, highestFile(disk)) + LOST_JUMP
    : Math.max(indexIdMax + 1, stored ?? freshFloor);
  let cursor = floor;
  let limit = floor;
  let slot = 0;
  let extending: Promise<void> | null = null;
  const extend = async (): Promise<void> => {
    const bound = limit + reserved;
    await writeSlot(disk, slot, bound);
    slot = 1 - slot;
    limit = bound;
  };
  const extendOnce = (): Promise<void> => {
    extending ??= extend().finally(() => {
      extending = null;
    });
    return extending;
  };
  // Twice: both slots then name a bound of this life, whichever was the newer one.
  await extend();
  await extend();
  return {
    firstOfThisLife: floor,
    get firstOfNextLife() {
      return limit;
    },
    ready: async () => {
      if (limit - cursor <= reserved / 4) {
        const more = extendOnce();
        if (cursor < limit) more.catch(() => {});
        else await more;
      }
    },
    next: () => {
      assert(cursor < limit, "an id was taken durably before it is given");
      return cursor++;
    },
  };
}

function writeSlot(disk: Disk, slot: number, bound: number): Promise<void> {
  const text = new TextEncoder().encode(`${bound}`);
  const bytes = new Uint8Array(SLOT_BYTES);
  bytes.set(new TextEncoder().encode(`${bound} ${checksumOf(text)}\n`));
  return writeSmall(disk, IDS_FILE, bytes, slot * SLOT_BYTES);
}

/** The bound in the file, or null when neither slot is whole. */
function readSlots(disk: Disk): number | null {
  const bytes = readSmall(disk, IDS_FILE);
  if (bytes === null) return null;
  const bounds = [0, 1].flatMap((slot) => {
    const part = bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES);
    const [bound = "", sum] = (new TextDecoder().decode(part).split("\n")[0] ?? "").split(" ");
    return checksumOf(new TextEncoder().encode(bound)) === sum ? [Number(bound)] : [];
  });
  return bounds.length === 0 ? null : Math.max(...bounds);
}

/** Only when `ids` was lost: reads the names of all files. */
function highestFile(disk: Disk): number {
  let highest = 0;
  for (let folder = 0; folder < FILE_FOLDERS; folder++) {
    for (const name of disk.list(folderPath(folder))) {
      if (/^\d+$/.test(name)) highest = Math.max(highest, Number(name));
    }
  }
  return highest;
}
