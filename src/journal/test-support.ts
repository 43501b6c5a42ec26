/** A journal over the simulated disk and clock, for tests. */
import { createSimClock, type SimClock } from "../../sim/clock.ts";
import { createSimDisk, type DiskDelays, type SimDisk } from "../../sim/disk.ts";
import { createLife, type Life } from "../../sim/world-process.ts";
import { KIB, MIB } from "../base/limits.ts";
import { seededRandom } from "../base/random.ts";
import { type JournalBounds, type OpenJournal, openJournal } from "./journal.ts";
import type { BlobName, Copies, Entry, NewContent, NewEntry } from "./types.ts";

export const SMALL_FILES: Partial<JournalBounds> = {
  segmentBytes: 64 * KIB,
  reserveBytes: 16 * KIB,
  batchBytesMax: 32 * KIB,
};

export interface JournalWorld {
  readonly clock: SimClock;
  readonly disk: SimDisk;
  readonly ended: Entry[];
  readonly freed: number[];
  /** Opens the journal; what was told of ended entries and freed files so far is forgotten. */
  open(more?: { readonly term?: number; readonly copies?: Copies }): Promise<OpenJournal>;
  /** Begins to open it and gets no further than `ms`. */
  openInVain(ms: number): Promise<void>;
}

export function createJournalWorld(
  seed = 1,
  options: {
    readonly bounds?: Partial<JournalBounds>;
    readonly delays?: DiskDelays;
    readonly capacityBytes?: number;
  } = {},
): JournalWorld {
  const random = seededRandom(seed);
  const clock = createSimClock();
  const disk = createSimDisk({
    random: random.fork(),
    clock,
    capacityBytes: options.capacityBytes ?? 4 * MIB,
    delays: options.delays ?? { ioMsMax: 1, syncMsMax: 5 },
  });
  const ended: Entry[] = [];
  const freed: number[] = [];
  let life: Life | null = null;
  const start = ({ term = 1, copies }: { readonly term?: number; readonly copies?: Copies } = {}) => {
    ended.length = 0;
    freed.length = 0;
    // Whatever the last process was about, it does nothing any more.
    life?.end();
    life = createLife({ clock, disk });
    return openJournal({
      disk: life.disk,
      clock: life.clock,
      random,
      term,
      listener: { ended: (entry) => ended.push(entry), filesFreed: (ids) => freed.push(...ids) },
      bounds: { ...SMALL_FILES, ...options.bounds },
      ...(copies === undefined ? {} : { copies }),
    });
  };
  return {
    clock,
    disk,
    ended,
    freed,
    open: (more) => clock.settle(start(more)),
    openInVain: async (ms) => {
      start().catch(() => {});
      await clock.advance(ms);
      life?.end();
    },
  };
}

export const nameOf = (blob: string, container = "c"): BlobName => ({ account: "a", container, blob });

/** A put with text as its bytes. */
export function putOf(blob: string, text: string, path = "p/"): NewEntry {
  return putWith(blob, { kind: "inline", bytes: new TextEncoder().encode(text) }, text.length, path);
}

export function putWith(blob: string, content: NewContent, sizeBytes: number, path = "p/"): NewEntry {
  return {
    kind: "put",
    path,
    name: nameOf(blob),
    base: { kind: "none" },
    put: {
      sizeBytes,
      etag: `"${blob} ${sizeBytes}"`,
      lastModifiedMs: 1_700_000_000_000,
      headers: ["Content-Type", "text/plain", "x-ms-meta-Größe", "42"],
      contentMd5: "1B2M2Y8AsgTpgAmY7PhCfg==",
      contentCrc64: null,
    },
    content,
  };
}

export const deletionOf = (blob: string, path = "p/"): NewEntry => ({
  kind: "delete",
  path,
  name: nameOf(blob),
  base: { kind: "etag", etag: '"old"' },
});

export const spanOf = (fileId: number, length: number, offset = 0) => ({
  fileId,
  offset,
  length,
  checksum: Bun.hash.xxHash64(`${fileId} ${offset} ${length}`).toString(16).padStart(16, "0"),
});
