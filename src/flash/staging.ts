/**
 * Files for bytes that clients bring (see {@link Staging} in `types.ts`): room for them, who they end with, and how
 * they become a version of the cache without being copied. `staged-files.ts` keeps who needs which.
 */
import { assert } from "../base/assert.ts";
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { createFile } from "./blocks.ts";
import type { Commits } from "./commits.ts";
import { dropVersion, type KeeperCore } from "./core.ts";
import { allocatedBytes, FILE_FOLDERS, FILES_FOLDER, fileIdsOf, folderPath } from "./files.ts";
import type { IdSource } from "./ids.ts";
import type { Marks } from "./marks.ts";
import type { Space } from "./space.ts";
import type { StagedFile } from "./staged-files.ts";
import type { Adoption, Staging } from "./types.ts";
import { createWarmBlocks } from "./warm-blocks.ts";

/** How often a reservation looks for room again when others took what it had made. */
const ROOM_ATTEMPTS_MAX = 8;

/** {@link Staging} with what the keeper itself tells it. */
export interface KeeperStaging extends Staging {
  holderGone(holder: string): void;
  /** Forgets what lives no longer. */
  lapse(): void;
  /** What is nobody's beyond this life is unlinked. Later reservations reject with `closed`. */
  stop(): void;
}

interface Parts {
  readonly core: KeeperCore;
  readonly ids: IdSource;
  readonly marks: Marks;
  readonly space: Space;
  readonly commits: Commits;
  readonly boundBytes: number;
}

/** A reservation being made: its holder may end meanwhile. */
interface Call {
  readonly holder: string;
  cancelled: boolean;
}

export function createStaging(parts: Parts): KeeperStaging {
  const { core, commits } = parts;
  const { staged, ledger, retirement } = core;
  let stopped = false;

  const unlink = (file: StagedFile): void => {
    const retired = { fileIds: [file.id], bytes: file.bytes };
    if (file.named && !stopped) {
      retirement.queue(retired);
      commits.schedule();
      return;
    }
    ledger.retiredBytes += retired.bytes;
    retirement.unlink([retired]);
  };
  /** Unlinks a file that nobody needs any more. */
  const settle = (file: StagedFile): void => {
    if (staged.end(file) && file.version === null) unlink(file);
  };
  const leave = (file: StagedFile): void => {
    staged.leave(file);
    settle(file);
  };
  const known = (fileIds: readonly number[]): StagedFile[] => fileIds.flatMap((id) => staged.get(id) ?? []);
  const unhold = (files: readonly StagedFile[]): void => {
    for (const file of files) {
      assert(file.uses > 0, "only what is held on to is let go of");
      file.uses--;
      settle(file);
    }
  };
  const giveBack = (holder: string, fileIds: readonly number[]): void => {
    for (const file of known(fileIds)) if (file.holder === holder) leave(file);
  };
  const hold = (holder: string, fileIds: readonly number[]): boolean => {
    const files = known(fileIds);
    if (files.length < fileIds.length || files.some((file) => file.holder !== holder)) return false;
    for (const file of files) {
      staged.leave(file);
      file.uses++;
    }
    return true;
  };
  const adopt = async (adoption: Adoption): Promise<boolean> => {
    const fileIds = fileIdsOf(adoption.spans);
    const files = known(fileIds);
    // From here on they are the adoption's: neither their holder's end nor the journal's release takes them away.
    for (const file of files) {
      staged.leave(file);
      file.uses++;
    }
    try {
      const adopted = files.length === fileIds.length && (await admit(adoption, files));
      if (!adopted) core.counts.adoptionsRefused++;
      return adopted;
    } finally {
      unhold(files);
    }
  };
  const admit = createAdmission(parts, () => stopped);
  const host = { hold, unhold: (fileIds: readonly number[]) => unhold(known(fileIds)), giveBack, adopt };
  const warm = createWarmBlocks(core.clock, host, Math.floor(parts.boundBytes * limits.warmBytesShare));
  const { reserve, holderGone } = createReserve(parts, () => stopped, warm.shed);

  return {
    reserve,
    giveBack,
    adopt,
    warm,
    keep: (fileIds) => {
      const files = known(fileIds);
      if (files.length < fileIds.length) throw new ForebayError("gone", "a file to be kept was given back already");
      for (const file of files) {
        staged.leave(file);
        file.kept = true;
      }
    },
    release: (fileIds) => {
      for (const file of known(fileIds)) {
        file.kept = false;
        settle(file);
      }
    },
    holderGone: (holder) => {
      holderGone(holder);
      warm.holderGone(holder);
      for (const file of staged.heldBy(holder)) leave(file);
    },
    lapse: warm.lapse,
    stop: () => {
      stopped = true;
      warm.shed();
      for (const file of [...staged.all()]) if (file.holder !== null) leave(file);
    },
  };
}

/** `shed` gives up what is only remembered, for when there is no room: whether that was anything. */
function createReserve({ core, ids, space }: Parts, isStopped: () => boolean, shed: () => boolean) {
  const { disk, staged, health, bounds } = core;
  const calls = new Set<Call>();
  const ready = new Map<number, Promise<void>>();

  const full = (why: string): never => {
    throw new ForebayError("flash-full", why);
  };
  const open = (call?: Call): void => {
    if (isStopped() || call?.cancelled === true) throw new ForebayError("closed", "the holder or the keeper has ended");
    health.check();
  };
  /**
   * A file's folder, its own name durable. Who makes a file's bytes durable flushes the name that its folder has of
   * it, and knows nothing of the folders above.
   */
  const prepareFolder = (index: number): Promise<void> => {
    const made = ready.get(index);
    if (made !== undefined) return made;
    const making = (async () => {
      disk.makeFolder(folderPath(index));
      await disk.syncFolder(FILES_FOLDER);
      await disk.syncFolder("");
    })();
    ready.set(index, making);
    making.catch(() => ready.delete(index));
    return making;
  };
  const make = async (call: Call, cost: number): Promise<number | null> => {
    await ids.ready();
    const fileId = ids.next();
    await prepareFolder(fileId % FILE_FOLDERS);
    open(call);
    // Others may have taken the room meanwhile.
    if (!space.hasRoom(cost)) return null;
    createFile(core, fileId);
    staged.reserve(fileId, call.holder, cost);
    space.granted(cost);
    space.review();
    return fileId;
  };
  const reserveFor = async (call: Call, cost: number): Promise<number> => {
    for (let attempt = 0; attempt < ROOM_ATTEMPTS_MAX; attempt++) {
      open(call);
      if (space.hasRoom(cost) || (await space.makeRoom(cost))) {
        const fileId = await make(call, cost);
        if (fileId !== null) return fileId;
      } else if (!shed()) break;
    }
    return full("no room on flash for the bytes of a write, even after eviction");
  };
  return {
    reserve: async (holder: string, bytes: number): Promise<number> => {
      assert(Number.isSafeInteger(bytes) && bytes >= 0, "room is asked for in whole bytes");
      const cost = allocatedBytes(bytes);
      if (bytes > bounds.fileBytesMax || cost > space.versionBytesMax) full("the write is larger than the cache");
      const pending = [...calls].filter((call) => call.holder === holder).length;
      if (staged.countOf(holder) + pending >= limits.stagedFilesPerHolderMax) full("too many files are being written");
      const call: Call = { holder, cancelled: false };
      calls.add(call);
      try {
        return await reserveFor(call, cost);
      } catch (error) {
        if (!hasCode(error, "flash-full", "overloaded", "closed")) health.fail(asForebayError(error).message);
        throw error;
      } finally {
        calls.delete(call);
      }
    },
    holderGone: (holder: string): void => {
      for (const call of calls) if (call.holder === holder) call.cancelled = true;
    },
  };
}

/** Makes a version of files that nobody takes away meanwhile. False: it is not to be kept. */
function createAdmission({ core, ids, marks, space, commits }: Parts, isStopped: () => boolean) {
  const { staged, ledger, health, versions, bounds, counts } = core;

  /** Why it may not be kept, as things stand now. */
  const objection = (adoption: Adoption, files: readonly StagedFile[]): string | null => {
    if (isStopped()) return "stopped";
    if (!health.state().ok) return "the flash failed";
    if (marks.covers(adoption.key)) return "a change is under way";
    if (files.some((file) => file.doubtful && !file.kept)) return "a flush failed";
    if (bytesOf(files) > space.versionBytesMax) return "too large";
    return isWhole(adoption, files) ? null : "its spans are not its bytes";
  };
  const insert = (adoption: Adoption, files: readonly StagedFile[]): void => {
    const { key, etag, sizeBytes } = adoption;
    const spans = adoption.spans.map(({ fileId, offset, length }) => ({ fileId, offset, length }));
    const id = ids.next();
    const version = versions.createWhole({ id, key, etag, sizeBytes, blockBytes: bounds.blockBytes, spans });
    for (const file of files) staged.give(file, id);
    version.pendingBytes = bytesOf(files);
    ledger.pendingBytes += version.pendingBytes;
    version.dirty = true;
    version.pending = new Map(adoption.spans.map(({ checksum }, n) => [n, checksum.padStart(16, "0")]));
    counts.adoptedVersions++;
    void commits.added(adoption.spans.length);
  };
  const admit = async (adoption: Adoption, files: readonly StagedFile[]): Promise<string | null> => {
    const why = objection(adoption, files);
    if (why !== null) return why;
    await ids.ready();
    const now = objection(adoption, files);
    if (now !== null) return now;
    const other = versions.load(adoption.key);
    if (other !== null) {
      const isSame = other.etag === adoption.etag && other.sizeBytes === adoption.sizeBytes;
      if (isSame && other.present === null) {
        versions.settle(other);
        return null;
      }
      dropVersion(core, other, "replaced");
      commits.schedule();
    }
    if (files.some((file) => file.version !== null)) return "another blob's version has its bytes";
    insert(adoption, files);
    return null;
  };
  return async (adoption: Adoption, files: readonly StagedFile[]): Promise<boolean> => {
    try {
      const why = await admit(adoption, files);
      if (why !== null) core.log("info", "bytes of a write are not kept", { key: adoption.key, why });
      return why === null;
    } catch (error) {
      if (!hasCode(error, "flash-full")) health.fail(asForebayError(error).message);
      return false;
    }
  };
}

function bytesOf(files: readonly StagedFile[]): number {
  return files.reduce((sum, file) => sum + file.bytes, 0);
}

/** Whether the spans are all of the bytes, and lie in their files. */
function isWhole({ spans, sizeBytes }: Adoption, files: readonly StagedFile[]): boolean {
  if (spans.length > limits.stagedBlocksPerBlobMax) return false;
  const roomOf = new Map(files.map((file) => [file.id, file.bytes]));
  const inPlace = spans.every(
    ({ fileId, offset, length }) => length > 0 && offset >= 0 && offset + length <= (roomOf.get(fileId) ?? 0),
  );
  return inPlace && spans.reduce((sum, { length }) => sum + length, 0) === sizeBytes;
}
