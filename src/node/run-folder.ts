/**
 * The folder of one run: the socket between its processes. It is locked while the run lasts, so that a later one can
 * tell what a killed one left behind, and remove it.
 */
import { existsSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
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
  const file = join(path, "lock");
  try {
    if (!existsSync(file)) return;
    const lock = takeFileLock(file);
    if (!("pid" in lock)) remove(path, lock);
  } catch {
    // Somebody else's.
  }
}

function remove(path: string, lock: FileLock): void {
  rmSync(path, { recursive: true, force: true });
  lock.release();
}
