/**
 * Markers of merged lists: where a list goes on when its pages were not the lake's own. They say everything themselves,
 * so that they outlive this process, the machine's restart and the draining of whatever was pending when they were given.
 */

const MAGIC = "forebay1!";
/** A blob's name in UTF-8 and a marker of the lake, which has such a name too, encoded twice. */
const LENGTH_MAX = 32 * 1024;

/** Where a merged list stands. `list-walk.ts` says what holds between the fields. */
export interface ListPosition {
  /** The lake's marker to ask with; null: from its beginning. */
  readonly lake: string | null;
  /** The last name that was dealt with: nothing up to it is given again. Empty: none was. */
  readonly after: string;
  /** How many names up to `after` the lake is expected to give again. Only a hint. */
  readonly skip: number;
}

export function writeMarker({ lake, after, skip }: ListPosition): string {
  return MAGIC + Buffer.from(JSON.stringify([lake, after, skip])).toString("base64url");
}

/** The position that a marker stands for; `foreign` for one of the lake's own, `bad` for a broken one of ours. */
export function readMarker(text: string): ListPosition | "foreign" | "bad" {
  if (!text.startsWith(MAGIC)) return "foreign";
  const encoded = text.slice(MAGIC.length);
  if (text.length > LENGTH_MAX || !/^[A-Za-z0-9_-]+$/.test(encoded)) return "bad";
  let fields: unknown;
  try {
    fields = JSON.parse(Buffer.from(encoded, "base64url").toString());
  } catch {
    return "bad";
  }
  if (!Array.isArray(fields) || fields.length !== 3) return "bad";
  const [lake, after, skip]: unknown[] = fields;
  if ((lake !== null && typeof lake !== "string") || lake === "" || typeof after !== "string") return "bad";
  if (typeof skip !== "number" || !Number.isSafeInteger(skip) || skip < 0 || !after.isWellFormed()) return "bad";
  return { lake, after, skip };
}
