/**
 * Whether the flash can be used. Any failure makes it unusable at once; a probe that writes, syncs and recognises the
 * folder makes it usable again. A folder that is gone, or another one, or an index that fails cannot be mended from
 * here: then the keeper has to be started anew, which is what its process does (start-up is recovery).
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import type { Disk } from "../io/disk.ts";
import { folderLine, writeSmall } from "./folder.ts";
import type { FlashLog, Health } from "./keeper-types.ts";

const PROBE_FILE = "probe";

export interface FlashHealth {
  state(): Health;
  /** Throws `flash-failed` unless the flash can be used. */
  check(): void;
  fail(reason: string): void;
  /** Only a new keeper can help. */
  failForGood(reason: string): void;
  probe(): Promise<void>;
  /** How often something failed in this life. */
  readonly failures: number;
}

export function createHealth(disk: Disk, line: string, log: FlashLog): FlashHealth {
  let state: Health = { ok: true };
  let failures = 0;
  let probes = 0;

  const fail = (reason: string, needsReopen: boolean): void => {
    failures++;
    if (!state.ok && state.needsReopen) return;
    if (state.ok || needsReopen) log("error", "the flash failed: nothing is kept for now", { reason });
    state = { ok: false, reason, needsReopen };
  };
  /** Null: the flash works. */
  const whatIsWrong = async (): Promise<{ readonly reason: string; readonly lost: boolean } | null> => {
    try {
      const found = folderLine(disk);
      if (found !== line) {
        return { reason: found === null ? "the flash folder is gone" : "the flash folder is another one", lost: true };
      }
      await writeSmall(disk, PROBE_FILE, new TextEncoder().encode(`${probes++}`.padStart(16, "0")), 0);
      return null;
    } catch (error) {
      // A full disk works: what is on it can be read, and eviction makes room.
      if (hasCode(error, "flash-full", "overloaded")) return null;
      return { reason: asForebayError(error).message, lost: hasCode(error, "gone") };
    }
  };
  return {
    state: () => state,
    check: () => {
      if (!state.ok) throw new ForebayError("flash-failed", `the flash failed: ${state.reason}`);
    },
    fail: (reason) => fail(reason, false),
    failForGood: (reason) => fail(reason, true),
    probe: async () => {
      if (!state.ok && state.needsReopen) return;
      const before = failures;
      const wrong = await whatIsWrong();
      if (wrong !== null) fail(wrong.reason, wrong.lost);
      else if (!state.ok && failures === before && !state.needsReopen) {
        state = { ok: true };
        log("info", "the flash works again");
      }
    },
    get failures() {
      return failures;
    },
  };
}
