/**
 * The flash folder itself: its format file, which says what wrote the folder and which folder it is, and the small
 * reads and writes that this needs.
 *
 * Layout: `format`, `ids` (see `ids.ts`), `probe` (written to find out whether the flash works), `index.sqlite` with its
 * companions, and `files/XX/ID`.
 */
import { ForebayError, hasCode } from "../base/errors.ts";
import type { Disk } from "../io/disk.ts";

/** The layout written here. */
export const FOLDER_FORMAT = 1;

export const FORMAT_FILE = "format";
const MAGIC = "forebay-flash";
const TEXT_BYTES_MAX = 1024;

/** The bytes of a small file, or null if it does not exist. */
export function readSmall(disk: Disk, path: string): Uint8Array | null {
  let fd: number;
  try {
    fd = disk.open(path, "read");
  } catch (error) {
    if (hasCode(error, "gone")) return null;
    throw error;
  }
  try {
    const bytes = new Uint8Array(TEXT_BYTES_MAX);
    return bytes.subarray(0, disk.readNow(fd, bytes, 0));
  } finally {
    disk.close(fd);
  }
}

/** Writes `bytes` at `offset` of a small file, which is made if need be, and waits until they are on stable storage. */
export async function writeSmall(disk: Disk, path: string, bytes: Uint8Array, offset: number): Promise<void> {
  const isNew = disk.sizeOf(path) === null;
  const fd = disk.open(path, isNew ? "create" : "write");
  try {
    await disk.write(fd, bytes, offset);
    await disk.syncFile(fd);
  } finally {
    disk.close(fd);
  }
  if (isNew) await disk.syncAll(); // its name, too
}

/** What the format file says: the line, which names this very folder. Null: there is none, or it was never finished. */
export function folderLine(disk: Disk): string | null {
  const bytes = readSmall(disk, FORMAT_FILE);
  if (bytes === null) return null;
  const text = new TextDecoder().decode(bytes).replaceAll("\u0000", "").trim();
  return text === "" ? null : text;
}

/**
 * Makes sure that the folder has a format known here and returns its line. `identity` names the folder when it is new.
 * Throws `config`, with the folder and the remedy, for a format that is not known.
 */
export async function openFolder(disk: Disk, identity: string): Promise<string> {
  const found = folderLine(disk);
  if (found === null) {
    const line = `${MAGIC} ${FOLDER_FORMAT} ${identity}`;
    await writeSmall(disk, FORMAT_FILE, new TextEncoder().encode(`${line}\n`), 0);
    return line;
  }
  const [magic, format] = found.split(" ");
  if (magic === MAGIC && Number(format) === FOLDER_FORMAT) return found;
  const what = magic === MAGIC ? `format ${format}` : "a format file of something else";
  throw new ForebayError(
    "config",
    `the flash folder ${disk.root} has ${what}, this version knows format ${FOLDER_FORMAT}: ` +
      "use the Forebay that wrote it, or choose another folder, or empty this one (a cache is lost, no data)",
  );
}
