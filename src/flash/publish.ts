/** What the lake said becomes a record: admission, and whether it is a new version or the same one checked again. */
import { asForebayError, hasCode } from "../base/errors.ts";
import type { Commits } from "./commits.ts";
import { dropVersion, type KeeperCore } from "./core.ts";
import { allocatedBytes } from "./files.ts";
import type { IdSource } from "./ids.ts";
import type { FlashKeeperOptions } from "./keeper-types.ts";
import type { Marks } from "./marks.ts";
import { mergeVariant, sameGeneration } from "./records.ts";
import type { Space } from "./space.ts";
import type { Publication, Published, Refusal } from "./types.ts";
import { type ActiveVersion, snapshot } from "./versions.ts";

export interface Publisher {
  publish(key: string, publication: Publication): Promise<Published>;
}

const refused = (reason: Refusal): Published => ({ kind: "refused", reason });

export function createPublisher(parts: {
  readonly core: KeeperCore;
  readonly ids: IdSource;
  readonly marks: Marks;
  readonly space: Space;
  readonly commits: Commits;
  readonly options: Pick<FlashKeeperOptions, "generations" | "epoch">;
}): Publisher {
  const { core, ids, marks, space, commits, options } = parts;
  const { health, versions, bounds } = core;

  /** Why it may not be kept, as things stand now. */
  const objection = (key: string, { variant, sizeBytes }: Publication): Refusal | null => {
    if (!health.state().ok) return "flash-failed";
    if (variant.epoch !== options.epoch) return "void";
    if (!sameGeneration(variant.generation, options.generations.current(key))) return "void";
    if (marks.covers(key)) return "changing";
    if (sizeBytes > bounds.fileBytesMax || allocatedBytes(sizeBytes) > space.versionBytesMax) return "too-large";
    return null;
  };
  const isSame = (version: ActiveVersion, { etag, sizeBytes }: Publication): boolean =>
    version.etag === etag && version.sizeBytes === sizeBytes && version.blockBytes === bounds.blockBytes;

  /** Of two answers that differ, the one to the question sent later counts. */
  const isOutdated = (version: ActiveVersion, { variant }: Publication): boolean =>
    version.variants.some((known) => known.epoch === variant.epoch && known.sentAtMs > variant.sentAtMs);

  const refresh = (version: ActiveVersion, publication: Publication): Published => {
    version.variants = mergeVariant(version.variants, publication.variant);
    version.dirty = true;
    commits.schedule();
    return { kind: "record", record: snapshot(version) };
  };
  const insert = (key: string, publication: Publication): Published => {
    const { etag, sizeBytes, variant } = publication;
    const version = versions.create(ids.next(), key, etag, sizeBytes, bounds.blockBytes);
    version.variants = [variant];
    version.dirty = true;
    commits.schedule();
    return { kind: "record", record: snapshot(version) };
  };
  const admit = async (key: string, publication: Publication): Promise<Published> => {
    const why = objection(key, publication);
    if (why !== null && why !== "too-large") return refused(why);
    const known = versions.load(key);
    if (known !== null) {
      if (isSame(known, publication)) return refresh(known, publication);
      if (isOutdated(known, publication)) return refused("void");
      dropVersion(core, known, "replaced");
      commits.schedule();
    }
    // Only now: what the lake no longer has goes, whether or not the new one can be kept.
    if (why !== null) return refused(why);
    // Room for the first block at least; the others ask when they are claimed.
    const bytes = allocatedBytes(Math.min(publication.sizeBytes, bounds.blockBytes));
    if (!space.hasRoom(bytes) && !(await space.makeRoom(bytes))) return refused("no-space");
    await ids.ready();
    // Time has passed: a change, a mark or another lease's publication may have come between.
    const now = objection(key, publication);
    if (now !== null) return refused(now);
    const other = versions.load(key);
    if (other !== null) {
      if (isSame(other, publication)) return refresh(other, publication);
      if (isOutdated(other, publication)) return refused("void");
      dropVersion(core, other, "replaced");
    }
    return insert(key, publication);
  };
  return {
    publish: async (key, publication) => {
      try {
        return await admit(key, publication);
      } catch (error) {
        if (hasCode(error, "flash-full")) return refused("no-space");
        if (!hasCode(error, "flash-failed", "gone")) throw error;
        health.fail(asForebayError(error).message);
        return refused("flash-failed");
      }
    },
  };
}
