/** What the engine stands on: given once, when a server starts (or by a test, in the simulated world). */
import type { FlashKeeper, IndexReader } from "../flash/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { WriteDesk } from "../writeback/types.ts";
import type { Generations } from "./generations.ts";
import type { Stats } from "./stats.ts";
import type { Trust } from "./trust.ts";

/** Descriptors of cache files, shared by the responses that read them. */
export interface VersionFiles {
  /** An open descriptor that stays open until {@link unpin}. Throws `gone` or `flash-failed`. */
  pin(fileId: number): number;
  unpin(fileId: number): void;
}

/** Where the engine says what people should know. Never given secrets. */
export type EngineLog = (level: "info" | "warn" | "error", message: string, fields?: Record<string, unknown>) => void;

export interface EngineContext {
  /** This server, as the keeper knows it. */
  readonly holder: string;
  readonly clock: Clock;
  readonly disk: Disk;
  readonly files: VersionFiles;
  readonly index: IndexReader;
  readonly keeper: FlashKeeper;
  /** Whoever owns the journal: asked only where `generations.owed` says that something may be pending, and by writes. */
  readonly desk: WriteDesk;
  readonly generations: Generations;
  /** The era of the `immutable` policies: see `era` of a variant in `flash/types.ts`. */
  readonly era: () => string;
  readonly trust: Trust;
  readonly stats: Stats;
  readonly log: EngineLog;
}
