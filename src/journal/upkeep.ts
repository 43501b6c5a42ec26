/**
 * Keeps the journal as small as what is pending. Files go oldest first, as soon as nothing in them lives: a mark says
 * so durably, then they are unlinked, and whether an unlinked file comes back after a power loss does not matter. An
 * entry that stays long would hold up all behind it: when more than half of the journal is dead, what lives in the
 * oldest file is written anew at the end.
 */
import type { ForebayError } from "../base/errors.ts";
import type { Disk } from "../io/disk.ts";
import { isTouched, itemOf, placeOf, rawRecord, withPlace } from "./appends.ts";
import { readPlace } from "./read-files.ts";
import { park } from "./replay.ts";
import type { Room, Segments } from "./segments.ts";
import { blockHomeKey } from "./staged.ts";
import type { BlobName, Entry } from "./types.ts";
import { entryHomeKey, type LiveView } from "./view.ts";
import { type Item, markItem, type Writer } from "./writer.ts";

export interface Upkeep {
  /** Looks whether there is something to do. */
  kick(): void;
  idle(): Promise<void>;
  readonly carriedRecords: number;
  readonly removedSegments: number;
}

export interface UpkeepParts {
  readonly disk: Disk;
  readonly segments: Segments;
  readonly writer: () => Writer;
  readonly view: LiveView;
  readonly segmentBytes: number;
  readonly reserveBytes: number;
  readonly nowMs: () => number;
  /** Files before this one are emptied whatever they hold. */
  readonly emptyBefore: number;
}

/** Files that are kept without a look at how much of them lives. */
const SLACK_FILES = 3;
/** Records carried at a time. */
const CARRY_STEP = 256;

export function createUpkeep(parts: UpkeepParts): Upkeep {
  const { segments, view } = parts;
  let running: Promise<void> | null = null;
  let [carriedRecords, removedSegments] = [0, 0];

  /** Removes the closed files at the beginning in which nothing lives. False: there are none, or it failed. */
  const removeDead = async (): Promise<boolean> => {
    const closed = segments.closed();
    const alive = closed.findIndex((number) => view.homes.keysIn(number).length > 0);
    const last = alive < 0 ? closed.at(-1) : closed[alive - 1];
    if (last === undefined) return false;
    if ((await mark(parts, last + 1)) !== null) return false;
    removedSegments += segments.removeBefore(last + 1);
    return true;
  };
  /** More than half of the journal is dead, or there is no other way to get a file back on a full disk. */
  const isWorthIt = async (): Promise<boolean> => {
    const alive = view.homes.bytes;
    if (segments.closed().length * parts.segmentBytes > 2 * alive + SLACK_FILES * parts.segmentBytes) return true;
    if (segments.usedBytes - alive < parts.reserveBytes) return false;
    await segments.refresh(0);
    return segments.tight;
  };
  const carryOldest = async (): Promise<boolean> => {
    const [closed] = segments.closed();
    if ((closed ?? parts.emptyBefore) >= parts.emptyBefore && !(await isWorthIt())) return false;
    const oldest = closed ?? segments.retire();
    if (oldest === null) return false;
    const keys = view.homes.keysIn(oldest);
    // Nothing is carried out of a current file in which nothing lives: a mark begins the next one.
    if (keys.length === 0) return closed === undefined && (await mark(parts, undefined, "carry")) === null;
    segments.carrying = true;
    try {
      for (let at = 0; at < keys.length; at += CARRY_STEP) {
        const outcomes = keys.slice(at, at + CARRY_STEP).map((key) => carry(parts, key, oldest));
        const carried = await Promise.allSettled(outcomes);
        if (carried.some(({ status }) => status === "rejected")) return false;
        carriedRecords += carried.length;
      }
    } finally {
      segments.carrying = false;
    }
    return true;
  };
  const pass = async (): Promise<void> => {
    while ((await removeDead()) || (await carryOldest()));
  };
  return {
    kick: () => {
      if (segments.closed().length === 0 && !segments.tight) return;
      running ??= pass().finally(() => {
        running = null;
      });
    },
    idle: async () => {
      while (running !== null) await running;
    },
    get carriedRecords() {
      return carriedRecords;
    },
    get removedSegments() {
      return removedSegments;
    },
  };
}

function mark({ writer, segments }: UpkeepParts, oldest?: number, room?: Room): Promise<ForebayError | null> {
  return new Promise((resolve) => writer().append(markItem(segments, oldest, resolve, room)));
}

/** Writes what `key` names at the end, if it still lives in the file `segment`. */
async function carry(parts: UpkeepParts, key: string, segment: number): Promise<void> {
  const [kind, first = "", ...rest] = key.split("\u0000");
  if (kind !== "entry") return append(parts, carryBlock(parts, nameOfKey(rest.join("\u0000")), first, segment));
  const seq = Number(first);
  const entry = parts.view.entry(seq);
  if (entry === null) return;
  const place = entry.kind === "put" && entry.content.kind === "inline" ? entry.content.place : null;
  const inline = place === null ? null : await readPlace(parts.disk, place);
  return append(parts, carryEntry(parts, seq, segment, place === null ? "none" : (inline ?? "damaged")));
}

function append({ writer }: UpkeepParts, { item, outcome }: { item: Item; outcome: Promise<void> }): Promise<void> {
  writer().append(item);
  return outcome;
}

function carryEntry(parts: UpkeepParts, seq: number, segment: number, inline: Uint8Array | "none" | "damaged") {
  const { view, nowMs } = parts;
  const bytes = inline instanceof Uint8Array ? inline : null;
  const now = (): Entry | null => {
    const entry = view.entry(seq);
    return entry !== null && inline === "damaged" ? park(entry, nowMs()) : entry;
  };
  return itemOf<void>("carry", (batch, _record, done) => {
    const entry = view.homes.isIn(entryHomeKey(seq), segment) ? now() : null;
    if (entry === null) {
      done();
      return null;
    }
    if (isTouched(batch, seq)) return "wait";
    // What was set aside meanwhile has no bytes any more.
    const kept = entry.kind === "put" && entry.content.kind === "inline" ? bytes : null;
    const record = rawRecord({ kind: "entry", original: false, supersedes: null, entry }, kept);
    return {
      record,
      apply: (written) => {
        const current = now();
        const home = { segment: written.segment, bytes: written.bytes };
        if (current !== null) view.moveHome(withPlace(current, kept && placeOf(written, kept)), home);
        done();
      },
    };
  });
}

function carryBlock({ view }: UpkeepParts, name: BlobName, blockId: string, segment: number) {
  return itemOf<void>("carry", (batch, _record, done) => {
    const block = view.homes.isIn(blockHomeKey(name, blockId), segment) ? view.staged.get(name, blockId) : null;
    if (block === null) {
      done();
      return null;
    }
    // What earlier records of the batch do to the blob's blocks must not be undone by this one.
    if (isTouched(batch, name)) return "wait";
    return {
      record: rawRecord({ kind: "block", block }),
      apply: (written) => {
        view.staged.moveHome(block, { segment: written.segment, bytes: written.bytes });
        done();
      },
    };
  });
}

/** The reverse of `blobKey`. */
function nameOfKey(key: string): BlobName {
  const [account = "", container = "", ...blob] = key.split("/");
  return { account, container, blob: blob.join("/") };
}
