/**
 * The folder of one run: the socket between its processes. It is locked while the run lasts, so that a later one can
 * tell what a killed one left behind, and remove it. The folder above is everybody's: another user may put there
 * whatever is called like a run.
 */
import { lstatSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ForebayError } from "../base/errors.ts";
import { type FileLock, takeFileLock } from "../io/file-lock.ts";

const PREFIX = "forebay-run-";
const ATTEMPTS = 3;

export interface RunFolder {
  readonly path: string;
  remove(): void;
}

/** Makes a folder under `parent` and removes those of runs that ended without doing so. */
export function makeRunFolder(parent: string = tmpdir()): RunFolder {
  for (const name of readdirSync(parent)) if (name.startsWith(PREFIX)) removeIfLeft(join(parent, name));
  for (let attempt = 1; attempt <= ATTEMPTS; attempt++) {
    const path = mkdtempSync(join(parent, PREFIX));
    const lock = takeFileLock(join(path, "lock"));
    // Another start may have taken it for one left behind, in the moment before it was locked.
    if ("pid" in lock) continue;
    return { path, remove: () => remove(path, lock) };
  }
  throw new ForebayError("internal", `no folder of its own can be had under ${parent}`);
}

function removeIfLeft(path: string): void {
  try {
    if (!isOwn(path)) return;
    const lock = takeFileLock(join(path, "lock"), true);
    if (!("pid" in lock)) remove(path, lock);
  } catch {
    // Just being made, or gone meanwhile.
  }
}

/** Whether it is a folder as {@link makeRunFolder} makes them: nobody else can have put anything into it. */
function isOwn(path: string): boolean {
  const stat = lstatSync(path);
  return stat.isDirectory() && stat.uid === process.getuid?.() && (stat.mode & 0o777) === 0o700;
}

function remove(path: string, lock: FileLock): void {
  rmSync(path, { recursive: true, force: true });
  lock.release();
}
