/** Where a pending version goes whose blob somebody else changed: beside it, under a name that says so. */
import type { Entry } from "../journal/types.ts";

/** Characters of a blob's name, at most. */
const NAME_LENGTH_MAX = 1024;

/** `NAME.forebay-conflict-YYYYMMDDTHHMMSSZ-SEQ`: when it was acknowledged, and its number in the journal. */
export function sideNameOf(entry: Pick<Entry, "name" | "seq" | "acknowledgedAtMs">): string {
  const iso = new Date(entry.acknowledgedAtMs).toISOString();
  const moment = `${iso.slice(0, 19).replace(/[-:]/g, "")}Z`;
  const suffix = `.forebay-conflict-${moment}-${entry.seq}`;
  // A character beyond the basic plane is not cut in two.
  const kept = entry.name.blob.slice(0, NAME_LENGTH_MAX - suffix.length).replace(/[\uD800-\uDBFF]$/, "");
  return kept + suffix;
}
