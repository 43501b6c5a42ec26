/** Says in the log when writes wait for longer than their policy allows, or the journal fails; and when that is over. */
import type { WritesView } from "../admin/types.ts";
import { overdue } from "../admin/writes-problems.ts";

export interface WritesWatch {
  /** To be called now and then. */
  look(): void;
}

export function createWritesWatch(
  view: () => WritesView | null,
  log: (level: "info" | "warn", message: string, fields?: Record<string, unknown>) => void,
): WritesWatch {
  let late: ReadonlySet<string> = new Set();
  let failing = false;
  return {
    look: () => {
      const writes = view();
      if (writes === null) return;
      const now = new Map(overdue(writes).map((path) => [path.path, path]));
      for (const [path, { oldestAgeMs, maxUnflushedMs, stuck }] of now) {
        if (late.has(path)) continue;
        const fields = { path, ageMs: oldestAgeMs, maxUnflushedMs, reason: stuck?.reason ?? "" };
        log("warn", "writes wait for the lake longer than their policy allows", fields);
      }
      for (const path of late) if (!now.has(path)) log("info", "writes are in time again", { path });
      late = new Set(now.keys());
      if (failing === writes.ok) log(writes.ok ? "info" : "warn", words(writes.ok), { state: writes.state });
      failing = !writes.ok;
    },
  };
}

function words(ok: boolean): string {
  return ok ? "the journal can be written again" : "the journal cannot be written: nothing is acknowledged on flash";
}
