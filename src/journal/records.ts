/**
 * What a record says: an entry (whole, when acknowledged and each time it is carried forward), a staged block, a move
 * of an entry to another state, blocks dropped, and marks of the journal itself. Field by field, in the order below.
 */
import type { CheckedSpan } from "../flash/types.ts";
import { ByteReader, ByteWriter, Malformed } from "./bytes.ts";
import type { Base, BlobName, BlockSpan, Content, Entry, EntryState, Place, StagedBlock } from "./types.ts";

/** Kinds of records, as their heads have them. */
export const KIND = { entry: 1, block: 2, move: 3, drop: 4, mark: 5 } as const;

/** What a record says, with its inline bytes left where they stand. */
export type Said =
  /** `original`: acknowledged by this very record, which also ends `supersedes` and, for a put, drops staged blocks. */
  | { readonly kind: "entry"; readonly original: boolean; readonly supersedes: number | null; readonly entry: Entry }
  | { readonly kind: "block"; readonly block: StagedBlock }
  | { readonly kind: "move"; readonly seq: number; readonly state: EntryState }
  | { readonly kind: "drop"; readonly name: BlobName }
  | Mark;

/**
 * Files before `oldestSegment` count no more. Records between `voidAfter` and `voidBefore` (both exclusive) never
 * happened: their flush failed, or they are written again right behind this mark.
 */
export interface Mark {
  readonly kind: "mark";
  readonly oldestSegment: number;
  readonly voidAfter: number;
  readonly voidBefore: number;
}

/** Of each record that has a subject: the entry's `seq`. 0: none. */
export function subjectOf(said: Said): number {
  if (said.kind === "entry") return said.entry.seq;
  return said.kind === "move" ? said.seq : 0;
}

/** The bytes of a record but for inline content, which follows them. */
export function encodeSaid(said: Said): Uint8Array {
  const out = new ByteWriter();
  switch (said.kind) {
    case "entry":
      out.u8(said.original ? 1 : 0);
      out.u64(said.supersedes ?? 0);
      writeEntry(out, said.entry);
      break;
    case "block":
      writeName(out, said.block.name);
      out.text(said.block.blockId);
      writeSpan(out, said.block.span);
      out.u64(said.block.stagedAtMs);
      break;
    case "move":
      out.u64(said.seq);
      writeState(out, said.state);
      break;
    case "drop":
      writeName(out, said.name);
      break;
    case "mark":
      out.u64(said.oldestSegment);
      out.u64(said.voidAfter);
      out.u64(said.voidBefore);
  }
  return out.finish();
}

/** What a record says. `inline` is where its content stands; null: it is not to be read. Null: it is no such record. */
export function decodeSaid(kind: number, bytes: Uint8Array, inline: Place | null): Said | null {
  try {
    const input = new ByteReader(bytes);
    const said = read(kind, input, inline);
    input.end();
    return said;
  } catch (error) {
    if (error instanceof Malformed) return null;
    throw error;
  }
}

function read(kind: number, input: ByteReader, inline: Place | null): Said {
  switch (kind) {
    case KIND.entry: {
      const original = input.u8() === 1;
      const supersedes = input.u64();
      const entry = readEntry(input, inline);
      return { kind: "entry", original, supersedes: supersedes === 0 ? null : supersedes, entry };
    }
    case KIND.block: {
      const block = { name: readName(input), blockId: input.text(), span: readSpan(input), stagedAtMs: input.u64() };
      return { kind: "block", block };
    }
    case KIND.move:
      return { kind: "move", seq: input.u64(), state: readState(input) };
    case KIND.drop:
      return { kind: "drop", name: readName(input) };
    case KIND.mark:
      return { kind: "mark", oldestSegment: input.u64(), voidAfter: input.u64(), voidBefore: input.u64() };
    default:
      throw new Malformed("an unknown kind of record");
  }
}

function writeName(out: ByteWriter, name: BlobName): void {
  out.text(name.account);
  out.text(name.container);
  out.text(name.blob);
}

function readName(input: ByteReader): BlobName {
  return { account: input.text(), container: input.text(), blob: input.text() };
}

function writeSpan(out: ByteWriter, span: CheckedSpan): void {
  out.u64(span.fileId);
  out.u64(span.offset);
  out.u64(span.length);
  out.hash(span.checksum);
}

function readSpan(input: ByteReader): CheckedSpan {
  return { fileId: input.u64(), offset: input.u64(), length: input.u64(), checksum: input.hash() };
}

function writeEntry(out: ByteWriter, entry: Entry): void {
  out.u64(entry.seq);
  out.u64(entry.term);
  out.text(entry.path);
  writeName(out, entry.name);
  writeBase(out, entry.base);
  out.u64(entry.acknowledgedAtMs);
  writeState(out, entry.state);
  out.u8(entry.kind === "put" ? 1 : 0);
  if (entry.kind === "delete") return;
  const { put } = entry;
  out.u64(put.sizeBytes);
  out.text(put.etag);
  out.u64(put.lastModifiedMs);
  out.u32(put.headers.length);
  for (const text of put.headers) out.text(text);
  out.optional(put.contentMd5);
  out.optional(put.contentCrc64);
  writeContent(out, entry.content);
}

function readEntry(input: ByteReader, inline: Place | null): Entry {
  const common = {
    seq: input.u64(),
    term: input.u64(),
    path: input.text(),
    name: readName(input),
    base: readBase(input),
    acknowledgedAtMs: input.u64(),
    state: readState(input),
  };
  if (input.u8() === 0) return { ...common, kind: "delete" };
  const put = {
    sizeBytes: input.u64(),
    etag: input.text(),
    lastModifiedMs: input.u64(),
    headers: Array.from({ length: input.count(4) }, () => input.text()),
    contentMd5: input.optional(),
    contentCrc64: input.optional(),
  };
  return { ...common, kind: "put", put, content: readContent(input, inline) };
}

function writeContent(out: ByteWriter, content: Content): void {
  out.u8(content.kind === "inline" ? 0 : content.kind === "spans" ? 1 : 2);
  if (content.kind !== "spans") return;
  out.u32(content.spans.length);
  for (const span of content.spans) {
    writeSpan(out, span);
    out.text(span.blockId);
  }
}

function readContent(input: ByteReader, inline: Place | null): Content {
  const kind = input.u8();
  if (kind === 0 && inline !== null) return { kind: "inline", place: inline };
  if (kind === 0 || kind === 2) return { kind: "damaged" };
  if (kind !== 1) throw new Malformed("an unknown kind of content");
  const spans = Array.from({ length: input.count(36) }, (): BlockSpan => {
    const span = readSpan(input);
    return { ...span, blockId: input.text() };
  });
  return { kind: "spans", spans };
}

function writeBase(out: ByteWriter, base: Base): void {
  const kinds = ["none", "etag", "unknown", "entry"] as const;
  out.u8(kinds.indexOf(base.kind));
  if (base.kind === "etag") out.text(base.etag);
  if (base.kind === "entry") out.u64(base.seq);
}

function readBase(input: ByteReader): Base {
  switch (input.u8()) {
    case 0:
      return { kind: "none" };
    case 1:
      return { kind: "etag", etag: input.text() };
    case 2:
      return { kind: "unknown" };
    case 3:
      return { kind: "entry", seq: input.u64() };
    default:
      throw new Malformed("an unknown kind of base");
  }
}

const STATE_CODES: Readonly<Record<EntryState["name"], number>> = {
  acknowledged: 0,
  draining: 1,
  parked: 2,
  conflicted: 3,
  aside: 4,
  settled: 5,
  superseded: 6,
  discarded: 7,
  exported: 8,
  dismissed: 9,
};

function writeState(out: ByteWriter, state: EntryState): void {
  out.u8(STATE_CODES[state.name]);
  switch (state.name) {
    case "parked":
      out.text(state.reason);
      out.u64(state.atMs);
      break;
    case "conflicted":
      out.text(state.sideName);
      break;
    case "aside":
      out.optional(state.sideName);
      out.optional(state.lakeEtag);
      break;
    case "settled":
      out.optional(state.lakeEtag);
      break;
    case "superseded":
      out.u64(state.by);
  }
}

function readState(input: ByteReader): EntryState {
  const code = input.u8();
  switch (code) {
    case STATE_CODES.acknowledged:
      return { name: "acknowledged" };
    case STATE_CODES.draining:
      return { name: "draining" };
    case STATE_CODES.parked:
      return { name: "parked", reason: input.text(), atMs: input.u64() };
    case STATE_CODES.conflicted:
      return { name: "conflicted", sideName: input.text() };
    case STATE_CODES.aside:
      return { name: "aside", sideName: input.optional(), lakeEtag: input.optional() };
    case STATE_CODES.settled:
      return { name: "settled", lakeEtag: input.optional() };
    case STATE_CODES.superseded:
      return { name: "superseded", by: input.u64() };
    case STATE_CODES.discarded:
      return { name: "discarded" };
    case STATE_CODES.exported:
      return { name: "exported" };
    case STATE_CODES.dismissed:
      return { name: "dismissed" };
    default:
      throw new Malformed("an unknown state");
  }
}
