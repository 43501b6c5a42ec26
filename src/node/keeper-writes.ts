/**
 * Writes in the keeper's process: the journal on the flash folder, the drain that carries it to the lake, and the desk
 * that servers ask. Without a policy that writes back, and without a journal from an earlier time, there is none of it.
 */
import { hostname } from "node:os";
import { asForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Random, seededRandom } from "../base/random.ts";
import { beginChange } from "../engine/change.ts";
import type { Generations } from "../engine/generations.ts";
import { compilePolicies, defaultPolicy, type PolicyRule, type PolicyTable, resolvePolicy } from "../engine/policy.ts";
import { filePath } from "../flash/files.ts";
import type { LocalFlashKeeper } from "../flash/keeper-types.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import { type JournalBounds, openJournal } from "../journal/journal.ts";
import type { BlobName, Journal, JournalListener, Recovery } from "../journal/types.ts";
import { keyText, type OwnLake } from "../lake/types.ts";
import { type Aliases, openAliases } from "../writeback/aliases.ts";
import { createDesk, type LocalDesk } from "../writeback/desk.ts";
import { createDrain } from "../writeback/drain.ts";
import type { Drain } from "../writeback/types.ts";
import type { Config } from "./config.ts";

/** What writes stand on. Functions where a reload may change the answer. */
export interface WritesParts {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly random: Random;
  readonly generations: Generations;
  readonly config: () => Pick<Config, "policies" | "drainRate" | "pendingNames" | "flashFolder">;
  readonly lakes: (account: string) => OwnLake | undefined;
  readonly accounts: () => readonly string[];
  readonly segmentBytes: number;
  /** Other bounds than those of `limits`: tests make them smaller. */
  readonly journalBounds?: Partial<JournalBounds>;
  readonly log: (level: "info" | "warn" | "error", message: string, fields?: Record<string, unknown>) => void;
}

/** Writes that are taken in and carried. */
export interface Writes {
  /** Its moves are seen in the counts that all processes share. */
  readonly journal: Journal;
  readonly drain: Drain;
  readonly desk: LocalDesk;
  /** What was found at start. */
  readonly recovery: Recovery;
  reconfigured(): void;
  stop(deadlineMs: number): Promise<void>;
}

/** A journal that is open, before there is a cache to work with. */
export interface OpenedWrites {
  /** The files that the journal holds, with what they take. */
  readonly held: readonly { readonly fileId: number; readonly bytes: number }[];
  begin(flash: LocalFlashKeeper): Writes;
  /** Closes it again, where there is no cache to go with it. */
  abandon(): Promise<void>;
}

/** Randomness that nobody foresees: a client must not be able to write what looks like a record of the journal. */
export function unforeseeable(): Random {
  return {
    ...seededRandom(crypto.getRandomValues(new Uint32Array(1))[0] ?? 0),
    fill: (bytes) => crypto.getRandomValues(bytes as Uint8Array<ArrayBuffer>),
  };
}

/** Whether there is anything to carry, or may be. */
export function writesBack(policies: readonly PolicyRule[], disk: Disk): boolean {
  return policies.some(({ write }) => write === "back") || disk.sizeOf("journal") !== null;
}

/** Opens the journal of the flash folder. Rejects as {@link openJournal} does. */
export async function openWrites(parts: WritesParts): Promise<OpenedWrites> {
  const { disk, clock, random, log } = parts;
  let desk: LocalDesk | null = null;
  const listener: JournalListener = {
    ended: (entry) => desk?.listener.ended(entry),
    filesFreed: (fileIds) => desk?.listener.filesFreed(fileIds),
  };
  const { journal, recovery } = await openJournal({
    disk,
    clock,
    random,
    term: 1,
    listener,
    bounds: { segmentBytes: parts.segmentBytes, ...parts.journalBounds },
  });
  sayRecovery(recovery, log);
  const aliases = await openAliases({ disk, clock, log });
  return {
    held: heldFiles(journal, disk),
    abandon: () => journal.stop(),
    begin: (flash) => {
      const made = compose(parts, journal, aliases, flash);
      desk = made.desk;
      return { recovery, ...made };
    },
  };
}

function sayRecovery(recovery: Recovery, log: WritesParts["log"]): void {
  const { entries, stagedBlocks, tornBytes, damage } = recovery;
  if (entries > 0 || stagedBlocks > 0 || tornBytes > 0) {
    log("info", "the journal was read", { pending: entries, stagedBlocks, tornBytes });
  }
  for (const { file, firstRecord, lastRecord, what, name } of damage.slice(0, DAMAGE_LINES_MAX)) {
    const blob = name === null ? "unknown" : `${name.container}/${name.blob}`;
    log("error", "a record of the journal is damaged", { file, firstRecord, lastRecord, what, blob });
  }
}

const DAMAGE_LINES_MAX = 100;

function heldFiles(journal: Journal, disk: Disk): { fileId: number; bytes: number }[] {
  const ids = new Set<number>();
  for (const entry of journal.view.entries()) {
    if (entry.kind !== "put" || entry.content.kind !== "spans") continue;
    for (const { fileId } of entry.content.spans) ids.add(fileId);
  }
  for (const name of journal.view.stagedBlobs()) {
    for (const { span } of journal.view.blocksOf(name)) ids.add(span.fileId);
  }
  return [...ids].map((fileId) => ({ fileId, bytes: disk.sizeOf(filePath(fileId)) ?? 0 }));
}

function compose(
  parts: WritesParts,
  opened: Journal,
  aliases: Aliases,
  flash: LocalFlashKeeper,
): Omit<Writes, "recovery"> {
  const { disk, clock, random, generations, config, lakes, log } = parts;
  let table: PolicyTable = compilePolicies(config().policies);
  const keyOf = (name: BlobName): string => keyText(name);
  const slotsOf = (name: BlobName) => generations.slotsOf(keyOf(name));
  const isImmutable = ({ account, container, blob }: BlobName): boolean =>
    resolvePolicy(table, account, container, blob).maxStaleMs === "immutable";
  // What the drain does to the journal shows in the counts that all processes see.
  const journal: Journal = {
    ...opened,
    move: async (seq, event) => {
      const moved = await opened.move(seq, event);
      if (moved.kind === "moved") desk.entryMoved(moved.entry);
      return moved;
    },
    dropBlocks: async (name) => {
      await opened.dropBlocks(name);
      desk.stagedChanged(name);
    },
  };
  const drain: Drain = createDrain({
    journal,
    disk,
    clock,
    random,
    lakes,
    policyOf: (path) => config().policies.find((rule) => rule.path === path) ?? defaultPolicy,
    rateBytesPerSecond: () => config().drainRate,
    ours: (name) => aliases.of(name)?.lakeEtag ?? null,
    around: async (name) => {
      const change = await beginChange({ generations, keeper: flash, clock }, name, isImmutable(name));
      return { ended: () => change.end("done") };
    },
    pendingNames: config().pendingNames
      ? { instance: instanceName(config().flashFolder), machine: hostname(), accounts: parts.accounts }
      : null,
    log,
  });
  const desk = createDesk({
    journal,
    staging: flash.staging,
    drain,
    disk,
    clock,
    aliases,
    signals: {
      owed: (name, count) => generations.owed.add(slotsOf(name), count),
      recovered: (names) => generations.owed.recovered([...names].map(slotsOf)),
      moved: (name) => generations.move(name),
      unmoved: (name, generation) => generations.same(slotsOf(name), generation),
    },
    mayCarry: (account) => (lakes(account)?.credentialKind ?? "none") !== "none",
    keyOf,
    log,
  });
  drain.wake();
  const upkeep = every(clock, limits.stagedBlockLookMs, () =>
    desk.dropOldBlocks().catch((error: unknown) => {
      log("warn", "old blocks could not be forgotten", { reason: asForebayError(error).message });
    }),
  );
  return {
    journal,
    drain,
    desk,
    reconfigured: () => {
      table = compilePolicies(config().policies);
      drain.reconfigured();
    },
    stop: async (deadlineMs) => {
      upkeep();
      await drain.stop(deadlineMs);
      desk.stop();
      await opened.stop();
      await aliases.stop();
    },
  };
}

/** Names this Forebay in the lake: the machine, and the flash folder on it. */
function instanceName(flashFolder: string): string {
  const folder = Bun.hash.xxHash32(flashFolder).toString(16).padStart(8, "0");
  return `${hostname().replaceAll(/[^A-Za-z0-9-]/g, "-")}-${folder}`;
}

function every(clock: Clock, periodMs: number, run: () => Promise<void>): () => void {
  let stopped = false;
  const next = (): { cancel(): void } =>
    clock.after(periodMs, () => {
      void run().finally(() => {
        if (!stopped) timer = next();
      });
    });
  let timer = next();
  return () => {
    stopped = true;
    timer.cancel();
  };
}
