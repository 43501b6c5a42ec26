/**
 * The records that callers ask for, each made when its batch is: against the view, which has what is durable, and
 * against what stands before it in the batch. Where that is not enough to decide, the record waits for the next one.
 */
import { assert } from "../base/assert.ts";
import { ForebayError } from "../base/errors.ts";
import type { Clock } from "../io/clock.ts";
import { hexOf } from "./bytes.ts";
import type { RawRecord } from "./frame.ts";
import { encodeSaid, KIND, type Said, subjectOf } from "./records.ts";
import type { Room } from "./segments.ts";
import { blobKey } from "./staged.ts";
import { nextState } from "./states.ts";
import type {
  Base,
  BlobName,
  BlockSpan,
  Content,
  Entry,
  EntryEvent,
  Moved,
  NewBlock,
  NewContent,
  NewEntry,
  Place,
  StagedBlock,
} from "./types.ts";
import type { LiveView } from "./view.ts";
import type { Batch, Item, Prepared, Written } from "./writer.ts";

/** What may be pending at most. */
export interface PendingBounds {
  readonly entriesMax: number;
  readonly spansMax: number;
  readonly inlineBytesMax: number;
  readonly inlineTotalBytesMax: number;
  readonly headerBytesMax: number;
  readonly recordBytesMax: number;
  readonly blocksPerBlobMax: number;
  readonly blocksMax: number;
}

export interface Appends {
  readonly view: LiveView;
  readonly clock: Clock;
  readonly term: number;
  readonly bounds: PendingBounds;
}

/** What {@link Batch.touched} holds. */
const touch = {
  entry: (seq: number): string => `entry ${seq}`,
  blob: (name: BlobName): string => `blob ${blobKey(name)}`,
  path: (path: string): string => `path ${path}`,
};

export function rawRecord(said: Said, inline: Uint8Array | null = null): RawRecord {
  return { kind: KIND[said.kind], subject: subjectOf(said), said: encodeSaid(said), inline };
}

/** What an entry's record may grow by when it is carried in another state. */
const STATE_BYTES_MAX = 8192;
const REASON_LENGTH_MAX = 1000;

const tooMuch = (what: string): ForebayError => new ForebayError("overloaded", `the journal holds ${what}`);

/** An item whose outcome is a promise. */
export function itemOf<T>(
  room: Room,
  prepare: (batch: Batch, record: number, done: (value: T) => void) => Prepared | "wait" | null,
): { readonly item: Item; readonly outcome: Promise<T> } {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  return { item: { room, prepare: (batch, record) => prepare(batch, record, resolve), reject }, outcome: promise };
}

/** A put or a deletion. */
export function appendItem(parts: Appends, asked: NewEntry): { readonly item: Item; readonly outcome: Promise<Entry> } {
  return itemOf<Entry>("new", (batch, seq, done) => {
    const { view, bounds } = parts;
    const latest = view.latest(asked.name);
    const namesBlocks = asked.kind === "put" && asked.content.kind === "spans" && asked.content.spans.some(isReference);
    if (latest !== null && isUnsettled(batch, latest)) return "wait";
    if (namesBlocks && batch.touched.has(touch.blob(asked.name))) return "wait";
    const { base, supersedes } = follow(parts, batch, asked, latest);
    const entry = newEntry(parts, asked, seq, base);
    checkBounds(parts, batch, entry, asked);
    const inline = asked.kind === "put" && asked.content.kind === "inline" ? asked.content.bytes : null;
    const record = rawRecord({ kind: "entry", original: true, supersedes, entry }, inline);
    if (record.said.length + (inline?.length ?? 0) > bounds.recordBytesMax - STATE_BYTES_MAX) {
      throw new ForebayError("usage", "a write has more spans, headers and names than one record takes");
    }
    note(batch, entry, supersedes);
    return {
      record,
      apply: (written) => {
        const placed = withPlace(entry, inline === null ? null : placeOf(written, inline));
        view.add(placed, { segment: written.segment, bytes: written.bytes });
        if (supersedes !== null) view.setState(supersedes, { name: "superseded", by: seq });
        if (entry.kind === "put") view.staged.drop(entry.name);
        done(placed);
      },
    };
  });
}

/** Whether the batch changes an entry, or what the entry follows: what it left would not be heard of. */
function isUnsettled({ touched }: Batch, { seq, base }: Entry): boolean {
  return touched.has(touch.entry(seq)) || (base.kind === "entry" && touched.has(touch.entry(base.seq)));
}

/** Tells those behind it in the batch. */
function note(batch: Batch, entry: Entry, supersedes: number | null): void {
  batch.touched.add(touch.blob(entry.name)).add(touch.path(entry.path));
  if (supersedes !== null) batch.touched.add(touch.entry(supersedes));
  batch.latest.set(blobKey(entry.name), entry.seq);
  batch.entries++;
  if (entry.kind === "delete") return;
  if (entry.content.kind === "spans") batch.spans += entry.content.spans.length;
  else batch.inlineBytes += entry.put.sizeBytes;
}

/**
 * What the entry follows. It takes the place of the blob's last one only if the lake cannot have heard of that and
 * nothing of its path was acknowledged in between: then no reader of the lake could tell.
 */
function follow(
  { view, clock }: Appends,
  batch: Batch,
  asked: NewEntry,
  latest: Entry | null,
): { readonly base: Base; readonly supersedes: number | null } {
  const inBatch = batch.latest.get(blobKey(asked.name));
  if (inBatch !== undefined) return { base: { kind: "entry", seq: inBatch }, supersedes: null };
  if (latest === null) return { base: asked.base, supersedes: null };
  const adjacent =
    latest.path === asked.path &&
    view.newestOf(asked.path) === latest.seq &&
    !batch.touched.has(touch.path(asked.path));
  if (adjacent && nextState(latest, { name: "supersede", by: 0 }, clock.wallMs()) !== null) {
    return { base: latest.base, supersedes: latest.seq };
  }
  return { base: { kind: "entry", seq: latest.seq }, supersedes: null };
}

const isReference = (span: BlockSpan | { readonly stagedBlock: string }): span is { readonly stagedBlock: string } =>
  "stagedBlock" in span;

function newEntry({ view, clock, term }: Appends, asked: NewEntry, seq: number, base: Base): Entry {
  const { path, name } = asked;
  const state = { name: "acknowledged" } as const;
  const common = { seq, term, path, name, base, acknowledgedAtMs: Math.floor(clock.wallMs()), state };
  if (asked.kind === "delete") return { ...common, kind: "delete" };
  return { ...common, kind: "put", put: asked.put, content: contentOf(view, name, asked.content) };
}

/** The content with its staged blocks looked up. Inline bytes have no place yet. */
function contentOf(view: LiveView, name: BlobName, content: NewContent): Content {
  if (content.kind === "inline") {
    return { kind: "inline", place: { file: "", offset: 0, length: content.bytes.length, checksum: "" } };
  }
  const spans = content.spans.map((span): BlockSpan => {
    if (!isReference(span)) return span;
    const block = view.stagedBlock(name, span.stagedBlock);
    if (block === null) throw new ForebayError("gone", `block ${span.stagedBlock} is not staged`);
    return { ...block.span, blockId: block.blockId };
  });
  return { kind: "spans", spans };
}

function checkBounds({ view, bounds }: Appends, batch: Batch, entry: Entry, asked: NewEntry): void {
  if (view.entryCount + batch.entries >= bounds.entriesMax) throw tooMuch(`${bounds.entriesMax} entries`);
  if (entry.kind === "delete" || asked.kind === "delete") return;
  const { put, content } = entry;
  const headerBytes = put.headers.reduce((sum, text) => sum + text.length, 0);
  if (headerBytes > bounds.headerBytesMax) throw new ForebayError("usage", "a write has too many headers");
  const wrongSize = new ForebayError("usage", "a write says another size than its bytes have");
  if (content.kind === "inline") {
    if (content.place.length !== put.sizeBytes) throw wrongSize;
    if (put.sizeBytes > bounds.inlineBytesMax) throw new ForebayError("usage", "inline bytes are small");
    const total = view.totals().inlineBytes + batch.inlineBytes + put.sizeBytes;
    if (total > bounds.inlineTotalBytesMax) throw tooMuch(`${bounds.inlineTotalBytesMax} bytes of small blobs`);
  } else if (content.kind === "spans") {
    if (content.spans.reduce((sum, span) => sum + span.length, 0) !== put.sizeBytes) throw wrongSize;
    if (view.spans + batch.spans + content.spans.length > bounds.spansMax) throw tooMuch(`${bounds.spansMax} spans`);
  }
}

/** Where inline bytes stand that were just written. */
export function placeOf(written: Written, inline: Uint8Array): Place {
  const checksum = hexOf(Bun.hash.xxHash64(inline));
  return { file: written.file, offset: written.inlineOffset, length: inline.length, checksum };
}

/** The entry with its inline bytes in another place. */
export function withPlace(entry: Entry, place: Place | null): Entry {
  if (place === null || entry.kind === "delete" || entry.content.kind !== "inline") return entry;
  return { ...entry, content: { kind: "inline", place } };
}

/** A block staged. */
export function stageItem(
  parts: Appends,
  asked: NewBlock,
): { readonly item: Item; readonly outcome: Promise<StagedBlock> } {
  return itemOf<StagedBlock>("new", (batch, _record, done) => {
    const { view, bounds, clock } = parts;
    const key = touch.blob(asked.name);
    if (view.staged.get(asked.name, asked.blockId) === null) {
      const count = view.staged.countOf(asked.name);
      if (count >= bounds.blocksPerBlobMax) throw tooMuch(`${bounds.blocksPerBlobMax} staged blocks of this blob`);
      if (count + batch.spans >= bounds.blocksPerBlobMax && batch.touched.has(key)) return "wait";
      if (view.staged.count + batch.spans >= bounds.blocksMax) throw tooMuch(`${bounds.blocksMax} staged blocks`);
      if (view.spans + batch.spans >= bounds.spansMax) throw tooMuch(`${bounds.spansMax} spans`);
    }
    const block: StagedBlock = { ...asked, stagedAtMs: Math.floor(clock.wallMs()) };
    const record = rawRecord({ kind: "block", block });
    batch.touched.add(key);
    batch.spans++;
    return {
      record,
      apply: (written) => {
        view.staged.put(block, { segment: written.segment, bytes: written.bytes });
        done(block);
      },
    };
  });
}

/** All staged blocks of a blob dropped. */
export function dropItem({ view }: Appends, name: BlobName): { readonly item: Item; readonly outcome: Promise<void> } {
  return itemOf<void>("free", (batch, _record, done) => {
    if (view.staged.countOf(name) === 0 && !batch.touched.has(touch.blob(name))) {
      done();
      return null;
    }
    const record = rawRecord({ kind: "drop", name });
    batch.touched.add(touch.blob(name));
    const apply = (): void => {
      view.staged.drop(name);
      done();
    };
    return { record, apply };
  });
}

/** An entry moved to another state. */
export function moveItem(
  { view, clock }: Appends,
  seq: number,
  event: EntryEvent,
): { readonly item: Item; readonly outcome: Promise<Moved> } {
  return itemOf<Moved>("free", (batch, _record, done) => {
    if (batch.touched.has(touch.entry(seq))) return "wait";
    const entry = view.entry(seq);
    const state = entry === null ? null : nextState(entry, bounded(event), Math.floor(clock.wallMs()));
    if (state === null) {
      done({ kind: "refused", state: entry?.state ?? null });
      return null;
    }
    const record = rawRecord({ kind: "move", seq, state });
    batch.touched.add(touch.entry(seq));
    return { record, apply: () => done({ kind: "moved", entry: view.setState(seq, state) }) };
  });
}

/** An event whose texts fit the record of any entry. */
function bounded(event: EntryEvent): EntryEvent {
  if (event.name === "park") return { ...event, reason: event.reason.slice(0, REASON_LENGTH_MAX).toWellFormed() };
  if (event.name === "conflict") assert((event.sideName?.length ?? 0) <= 1024, "a side name is a blob name");
  return event;
}

/** Whether earlier records of a batch are about an entry, or about a blob's blocks. */
export function isTouched(batch: Batch, what: number | BlobName): boolean {
  return batch.touched.has(typeof what === "number" ? touch.entry(what) : touch.blob(what));
}
