/** How the bytes of a put go to the lake: in one piece, or as blocks. */
import type { BlockSpan, PutEntry } from "../journal/types.ts";

export type Content =
  | { readonly kind: "inline" }
  | { readonly kind: "small"; readonly spans: readonly BlockSpan[] }
  | { readonly kind: "blocks"; readonly spans: readonly BlockSpan[] }
  | { readonly kind: "damaged" };

/**
 * A put that a client made of blocks stays one of blocks, however small: its readers may ask for the list of them, and
 * its next writer may name them again.
 */
export function contentOf(entry: PutEntry, smallBytesMax: number): Content {
  const { content, put } = entry;
  if (content.kind !== "spans") return content.kind === "inline" ? { kind: "inline" } : { kind: "damaged" };
  const { spans } = content;
  if (spans.some(({ blockId }) => blockId !== "")) return { kind: "blocks", spans };
  return { kind: put.sizeBytes <= smallBytesMax ? "small" : "blocks", spans };
}
