/** Folders and waiting for tests: everything is removed again, every wait is bounded. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A folder of its own under the system's temporary folder. */
export interface TempFolder {
  readonly path: string;
  remove(): void;
}

/** Makes a temporary folder whose name begins with `forebay-NAME-`. */
export function tempFolder(name: string): TempFolder {
  const path = mkdtempSync(join(tmpdir(), `forebay-${name}-`));
  return { path, remove: () => rmSync(path, { recursive: true, force: true }) };
}

/** Rejects with `what` unless `work` settles within `timeoutMs`. */
export async function within<T>(timeoutMs: number, what: string, work: Promise<T>): Promise<T> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what}: nothing within ${timeoutMs} ms`)), timeoutMs);
  });
  try {
    return await Promise.race([work, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** The last `count` lines of `text`. */
export function lastLines(text: string, count: number): string {
  return text.trimEnd().split("\n").slice(-count).join("\n");
}
