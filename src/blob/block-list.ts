/**
 * The body of Put Block List: a small, strict reader of the one form that clients write. Whatever differs is for the
 * lake to read, or to refuse.
 *
 * Source: "Put Block List" in the REST documentation.
 */
import { limits } from "../base/limits.ts";
import { isBlockId } from "./write-screen.ts";

const DECLARATION = /^\ufeff?\s*(?:<\?xml\s[^<>?]*\?>)?\s*/;
const EMPTY = /^<BlockList\s*\/>$/;
const OPEN = /^<BlockList\s*>/;
const CLOSE = /<\/BlockList\s{0,16}>$/;
/** White space within is bounded: looking for its end again and again would cost the square of its length. */
const BLOCK = /\s*<(Latest|Uncommitted|Committed)>\s{0,16}([A-Za-z0-9+/=]{0,88})\s{0,16}<\/\1>/y;
/** More than the end of a list is long. */
const END_LENGTH = 64;

/**
 * The ids of the blocks that make a blob, in their order, when all of them are to be found among those that are not
 * committed; null when the lake must read the list: it names committed blocks, one twice, or is not understood.
 */
export function parseBlockList(bytes: Uint8Array): readonly string[] | null {
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return null;
  }
  const declaration = DECLARATION.exec(text)?.[0] ?? "";
  const list = text.slice(declaration.length).trimEnd();
  if (!isUtf8(declaration)) return null;
  if (EMPTY.test(list)) return [];
  const open = OPEN.exec(list)?.[0];
  const close = CLOSE.exec(list.slice(-END_LENGTH))?.[0];
  if (open === undefined || close === undefined) return null;
  return blocksOf(list.slice(0, -close.length).trimEnd(), open.length);
}

/** Other encodings are for others. */
function isUtf8(declaration: string): boolean {
  const encoding = /encoding\s*=\s*["']([^"']*)["']/i.exec(declaration)?.[1];
  return encoding === undefined || encoding.toLowerCase() === "utf-8";
}

function blocksOf(list: string, from: number): readonly string[] | null {
  const ids = new Set<string>();
  let length: number | null = null;
  BLOCK.lastIndex = from;
  while (BLOCK.lastIndex < list.length) {
    const [, kind, id = ""] = BLOCK.exec(list) ?? [];
    // Ids of one blob are as long as each other.
    if (kind === undefined || kind === "Committed" || !isBlockId(id) || ids.has(id)) return null;
    length ??= id.length;
    if (id.length !== length || ids.size >= limits.stagedBlocksPerBlobMax) return null;
    ids.add(id);
  }
  return [...ids];
}
