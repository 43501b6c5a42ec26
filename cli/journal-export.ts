/**
 * Copies the bytes of an entry to a file, and then, where it is held up, takes it out of the journal: only once the
 * file is whole and durable, because until then the journal has the only copy.
 */
import * as fs from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { ForebayError } from "../src/base/errors.ts";
import { askAdmin, blobName, entrySchema, jsonOf, judged, refusalOf, type ShownEntry } from "./admin-client.ts";

/** What an export came to. */
export interface Exported {
  readonly seq: number;
  readonly blob: string;
  readonly file: string;
  readonly bytes: number;
  /** The state in which the entry was found. */
  readonly state: string;
  /** Why the entry is still in the journal; null: it is not. */
  readonly stays: string | null;
}

/** Exports an entry. Throws `lake-refused` when there is nothing to export, `usage` when the file cannot be made. */
export async function exportEntry(admin: string, seq: number, file: string, keep: boolean): Promise<Exported> {
  const entry = judged(entrySchema, await jsonOf(admin, await askAdmin(admin, `/api/v1/journal/${seq}`)), admin);
  if (entry.sizeBytes === null) {
    throw new ForebayError("lake-refused", `entry ${seq} is a deletion: it has no bytes; discard it instead`);
  }
  if (await exists(file)) throw new ForebayError("usage", `${file} is there already; name another file`);
  await copyContent(admin, entry, entry.sizeBytes, file);
  const stays = keep ? `entry ${seq} stays in the journal` : await takeOut(admin, entry);
  return { seq, blob: blobName(entry), file, bytes: entry.sizeBytes, state: entry.state, stays };
}

/** Null: the entry has left the journal. */
async function takeOut(admin: string, { seq, state }: ShownEntry): Promise<string | null> {
  if (state !== "parked" && state !== "conflicted") {
    return `entry ${seq} stays in the journal, on its way to the lake: only what is held up leaves it by an export`;
  }
  const options = { method: "POST", withinMs: null };
  const response = await askAdmin(admin, `/api/v1/journal/${seq}/exported`, options);
  return response.ok ? null : `entry ${seq} was not taken out: ${(await refusalOf(admin, response)).message}`;
}

async function copyContent(admin: string, { seq }: ShownEntry, sizeBytes: number, file: string): Promise<void> {
  const response = await askAdmin(admin, `/api/v1/journal/${seq}/content`, { withinMs: null });
  if (!response.ok) throw await refusalOf(admin, response);
  const partial = join(dirname(file), `.${basename(file)}.${process.pid}.part`);
  try {
    const handle = await fs.open(partial, "wx", 0o600);
    try {
      const written = await take(response, handle);
      if (written !== sizeBytes) {
        const cause = "it ended meanwhile, or its bytes on flash are damaged: see the log of the Forebay";
        throw new ForebayError("lake-refused", `only ${written} of ${sizeBytes} bytes of entry ${seq} came; ${cause}`);
      }
      await handle.sync();
    } finally {
      await handle.close();
    }
    await putInPlace(partial, file);
    await syncFolder(dirname(file));
  } catch (error) {
    throw error instanceof ForebayError ? error : cannotWrite(file, error);
  } finally {
    await fs.rm(partial, { force: true });
  }
}

/** Unlike a rename, a link never takes the place of a file that came meanwhile; not every file system has them. */
async function putInPlace(partial: string, file: string): Promise<void> {
  try {
    await fs.link(partial, file);
  } catch (error) {
    if (!NO_LINKS.has((error as NodeJS.ErrnoException | null)?.code ?? "")) throw error;
    await fs.rename(partial, file);
  }
}

const NO_LINKS: ReadonlySet<string> = new Set(["EPERM", "ENOSYS", "ENOTSUP", "EOPNOTSUPP", "EMLINK"]);

/** Writes what comes; how much that was. A connection that breaks off is an end like any other. */
async function take(response: Response, handle: fs.FileHandle): Promise<number> {
  let written = 0;
  const reader = response.body?.getReader();
  for (;;) {
    const next = await reader?.read().catch(() => null);
    if (next === null || next === undefined || next.done) return written;
    for (let at = 0; at < next.value.length; ) {
      at += (await handle.write(next.value, at, next.value.length - at, written + at)).bytesWritten;
    }
    written += next.value.length;
  }
}

async function syncFolder(path: string): Promise<void> {
  const folder = await fs.open(path, "r");
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

async function exists(path: string): Promise<boolean> {
  return fs.lstat(path).then(
    () => true,
    () => false,
  );
}

function cannotWrite(file: string, error: unknown): ForebayError {
  const code = (error as NodeJS.ErrnoException | null)?.code ?? "unknown error";
  return new ForebayError("usage", `${file} cannot be written (${code}); name another file`, { cause: error });
}
