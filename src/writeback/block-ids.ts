/** What the blocks of an entry are called in the lake, and the lists that name them. */
import type { BlockSpan, PutEntry } from "../journal/types.ts";

/** A block as the lake knows it. */
export interface LakeBlock {
  readonly id: string;
  readonly lengthBytes: number;
}

/** Ids for the spans of a put, and whether nobody else can have made the same for other bytes. */
export interface BlockIds {
  readonly ids: readonly string[];
  readonly areOwn: boolean;
}

const OWN_BYTES = 36;
/** Shorter ones could be the same for two blocks. */
const OWN_BYTES_MIN = 6;
/** The service's bound, before they are encoded. */
const ID_BYTES_MAX = 64;

/**
 * The client's own ids where they can serve: the list of blocks in the lake is then the one that the client wrote.
 * Else ids made from the blocks' checksums, the same at every start.
 */
export function blockIdsOf(entry: PutEntry, spans: readonly BlockSpan[]): BlockIds {
  const ids = spans.map(({ blockId }) => blockId);
  const alike = ids.every((id) => id !== "" && id.length === ids[0]?.length);
  if (alike && new Set(ids).size === ids.length) return { ids, areOwn: false };
  return ownIds(entry, spans);
}

/** Ids of our own, of `lengthBytes` each. */
export function ownIds(entry: PutEntry, spans: readonly BlockSpan[], lengthBytes: number = OWN_BYTES): BlockIds {
  const ids = spans.map(({ checksum, length }, index) => {
    const text = `forebay ${entry.seq} ${index} ${length} ${checksum} ${entry.put.etag}`;
    const digest = new Bun.CryptoHasher("sha512").update(text).digest();
    return digest.subarray(0, lengthBytes).toString("base64");
  });
  return { ids, areOwn: lengthBytes >= OWN_BYTES };
}

/**
 * Ids as long as those that are there already; null where there are not so many. `mustBeOwn`: nobody else may come upon
 * the same ones.
 */
export function idsLike(id: string, entry: PutEntry, spans: readonly BlockSpan[], mustBeOwn: boolean): BlockIds | null {
  const lengthBytes = Buffer.from(id, "base64").length;
  if (lengthBytes < 1 || lengthBytes > ID_BYTES_MAX) return null;
  if (lengthBytes >= OWN_BYTES_MIN) return ownIds(entry, spans, lengthBytes);
  if (mustBeOwn || spans.length > 256 ** lengthBytes) return null;
  const ids = spans.map((_, index) => {
    const bytes = Buffer.alloc(lengthBytes);
    bytes.writeUIntBE(index, 0, lengthBytes);
    return bytes.toString("base64");
  });
  return { ids, areOwn: false };
}

/** The body of Put Block List. */
export function blockListXml(ids: readonly string[]): Uint8Array {
  const latest = ids.map((id) => `<Latest>${id}</Latest>`).join("");
  return new TextEncoder().encode(`<?xml version="1.0" encoding="utf-8"?><BlockList>${latest}</BlockList>`);
}

/** The blocks of one kind in an answer of Get Block List. Ids are base64: nothing in them is escaped. */
export function parseBlockList(text: string, kind: "Committed" | "Uncommitted"): LakeBlock[] {
  const part = new RegExp(`<${kind}Blocks>([\\s\\S]*?)</${kind}Blocks>`).exec(text)?.[1] ?? "";
  return [...part.matchAll(/<Block>([\s\S]*?)<\/Block>/g)].map(([, inner = ""]) => ({
    id: /<Name>([^<]*)<\/Name>/.exec(inner)?.[1] ?? "",
    lengthBytes: Number(/<Size>(\d+)<\/Size>/.exec(inner)?.[1] ?? "0"),
  }));
}
