/**
 * Ids of versions, files and marks: increasing, never given twice, not even after a power loss or the loss of the
 * index, because descriptors, marks of visit and files of earlier lives may still bear them. A range is taken durably
 * in the file `ids` before its first id is given. The file has two slots in sectors of their own, written in turn,
 * the one with the older bound first, and ids are given below both bounds: whichever slot is torn or damaged, the other
 * one is above all that was given.
 */
import { assert } from "../base/assert.ts";
import type { Disk } from "../io/disk.ts";
import { FILE_FOLDERS, FILES_FOLDER, folderPath } from "./files.ts";
import { readSmall, writeSmall } from "./folder.ts";

export const IDS_FILE = "ids";
const SLOT_BYTES = 512;

/** Added to the highest id found when the file `ids` is lost: ids above it may have been given to nothing stored. */
const LOST_JUMP = 2 ** 32;

/** Below every bound. */
const DAMAGED = Number.NEGATIVE_INFINITY;

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
  const bounds = readSlots(disk);
  const floor = firstId(disk, indexIdMax, Math.max(...bounds), freshFloor);
  let cursor = floor;
  /** The newer bound, and the older one, which ids are given below. */
  let limit = floor;
  let safeLimit = floor;
  let slot: 0 | 1 = bounds[0] <= bounds[1] ? 0 : 1;
  let extending: Promise<void> | null = null;
  const extend = async (): Promise<void> => {
    const bound = limit + reserved;
    await writeSlot(disk, slot, bound);
    slot = slot === 0 ? 1 : 0;
    safeLimit = limit;
    limit = bound;
  };
  const extendOnce = (): Promise<void> => {
    extending ??= extend().finally(() => {
      extending = null;
    });
    return extending;
  };
  // Twice: both slots then name a bound of this life.
  await extend();
  await extend();
  return {
    firstOfThisLife: floor,
    get firstOfNextLife() {
      return limit;
    },
    ready: async () => {
      if (safeLimit - cursor <= reserved / 4) {
        const more = extendOnce();
        if (cursor < safeLimit) more.catch(() => {});
        else await more;
      }
    },
    next: () => {
      assert(cursor < safeLimit, "an id was taken durably before it is given");
      return cursor++;
    },
  };
}

/** Where a life's ids begin. `stored` is the newest bound in the file, or {@link DAMAGED}. */
function firstId(disk: Disk, indexIdMax: number, stored: number, freshFloor: number): number {
  if (stored !== DAMAGED) return Math.max(indexIdMax + 1, stored);
  const lost = indexIdMax > 0 || disk.list(FILES_FOLDER).length > 0;
  return lost ? Math.max(Math.max(indexIdMax, highestFile(disk)) + LOST_JUMP, freshFloor) : freshFloor;
}

/** Of a bound, xxHash64: part of the folder's layout, whatever blocks are checked with. */
function sumOf(bound: string): string {
  return Bun.hash.xxHash64(new TextEncoder().encode(bound)).toString(16).padStart(16, "0");
}

function writeSlot(disk: Disk, slot: number, bound: number): Promise<void> {
  const bytes = new Uint8Array(SLOT_BYTES);
  bytes.set(new TextEncoder().encode(`${bound} ${sumOf(`${bound}`)}\n`));
  return writeSmall(disk, IDS_FILE, bytes, slot * SLOT_BYTES);
}

/** The bounds in both slots; {@link DAMAGED} for one that is not whole. */
function readSlots(disk: Disk): readonly [number, number] {
  const bytes = readSmall(disk, IDS_FILE) ?? new Uint8Array();
  const boundIn = (slot: number): number => {
    const part = bytes.subarray(slot * SLOT_BYTES, (slot + 1) * SLOT_BYTES);
    const [bound = "", sum] = (new TextDecoder().decode(part).split("\n")[0] ?? "").split(" ");
    return sumOf(bound) === sum ? Number(bound) : DAMAGED;
  };
  return [boundIn(0), boundIn(1)];
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
