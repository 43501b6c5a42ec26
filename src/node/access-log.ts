/** The access log: one JSON line for each answer, to a file or to standard error. Off unless asked for. */
import { mkdirSync, openSync } from "node:fs";
import { dirname } from "node:path";
import { ForebayError } from "../base/errors.ts";
import type { AccessEntry } from "../blob/front.ts";
import type { EngineLog } from "../engine/context.ts";
import type { Clock } from "../io/clock.ts";
import { lineSink } from "../io/line-sink.ts";

const COMPLAINT_INTERVAL_MS = 60_000;
const STDERR = 2;

/**
 * A writer of access lines; null when `place` is. `-` is standard error. Lines of all servers go to the same file.
 * Throws `config` when the file cannot be opened. The writer never throws: lines that cannot be written are counted,
 * and `log` hears of them at most once a minute.
 */
export function createAccessLog(
  place: string | null,
  log: EngineLog,
  clock: Clock,
): ((entry: AccessEntry) => void) | null {
  if (place === null) return null;
  const sink = lineSink(place === "-" ? STDERR : openAppending(place));
  let complainedAtMs = Number.NEGATIVE_INFINITY;
  return (entry) => {
    const line = `${JSON.stringify({ ...entry, elapsedMs: Math.round(entry.elapsedMs * 1000) / 1000 })}\n`;
    if (sink.write(line)) return;
    const nowMs = clock.monotonicMs();
    if (nowMs - complainedAtMs < COMPLAINT_INTERVAL_MS) return;
    complainedAtMs = nowMs;
    log("error", "access lines are lost: they cannot be written", { ...sink.takeLost() });
  };
}

function openAppending(path: string): number {
  try {
    mkdirSync(dirname(path), { recursive: true });
    return openSync(path, "a");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? "unknown reason";
    throw new ForebayError("config", `cannot write the access log ${path} (${code}); choose another place for it`);
  }
}
