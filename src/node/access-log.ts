/** The access log: one JSON line for each answer, to a file or to standard error. Off unless asked for. */
import pino from "pino";
import type { AccessEntry } from "../blob/front.ts";

/** A writer of access lines; null when `place` is. `-` is standard error. Lines of all servers go to the same file. */
export function createAccessLog(place: string | null): ((entry: AccessEntry) => void) | null {
  if (place === null) return null;
  const destination =
    place === "-"
      ? pino.destination({ fd: 2, sync: true })
      : pino.destination({ dest: place, append: true, mkdir: true, sync: true });
  return (entry) => {
    destination.write(`${JSON.stringify({ ...entry, elapsedMs: Math.round(entry.elapsedMs * 1000) / 1000 })}\n`);
  };
}
