/** The status document of the admin API, and what keeps Forebay from being ready. */
import { type Stats, sumStats } from "../engine/stats.ts";
import type { AdminSources, FlashView, LakeView, PolicyView } from "./types.ts";
import { writesProblems } from "./writes-problems.ts";
import type { WritesView } from "./writes-types.ts";

/** `/api/v1/status`. Byte and request counts are totals since the servers started. */
export interface StatusReport {
  readonly version: string;
  readonly uptimeMs: number;
  readonly ready: boolean;
  readonly problems: readonly string[];
  readonly lakes: readonly LakeView[];
  readonly policies: readonly PolicyView[];
  readonly flash: {
    readonly path: string;
    readonly usedBytes: number;
    readonly boundBytes: number;
    readonly blobs: number;
    readonly state: string;
    readonly evictions: number;
  };
  readonly servers: number;
  /** What was acknowledged and is not in the lake yet; null while there is no journal. */
  readonly writes: WritesView | null;
  readonly totals: {
    readonly hits: number;
    readonly misses: number;
    readonly partial: number;
    readonly forwards: number;
    readonly bytesFromFlash: number;
    readonly bytesFromLake: number;
    readonly lakeReads: number;
    readonly lakeReadsSaved: number;
    readonly bytesSaved: number;
    readonly fills: number;
    readonly fillErrors: number;
    readonly errors: Readonly<Record<string, number>>;
  };
  /** Hits over all reads that flash might have answered; null before the first. */
  readonly hitRatio: number | null;
}

/** What people should know: each one sentence. Empty when all is well. */
export function problemsOf(
  flash: FlashView,
  lakes: readonly LakeView[],
  answering: number,
  expected: number,
  writes: WritesView | null = null,
): string[] {
  const problems: string[] = [];
  if (!flash.ok) problems.push(`flash: ${flash.state}; reads are served from the lake`);
  for (const lake of lakes) if (lake.problem !== null) problems.push(`lake ${lake.account}: ${lake.problem}`);
  if (answering < expected) problems.push(`servers: ${answering} of ${expected} answer`);
  if (writes !== null) problems.push(...writesProblems(writes));
  return problems;
}

/** The sum of the lake requests whose kind is one of `kinds`. */
function lakeRequests(stats: Stats, kinds: readonly string[]): number {
  let sum = 0;
  for (const [name, times] of Object.entries(stats.lakeRequests)) {
    if (kinds.includes(name.slice(0, name.indexOf(".")))) sum += times;
  }
  return sum;
}

/** Puts the status together. */
export async function statusReport(sources: AdminSources): Promise<StatusReport> {
  const { stats: all, answering, expected } = await sources.servers();
  const stats = sumStats(all);
  const flash = sources.flash();
  const lakes = sources.lakes();
  const writes = sources.writes?.() ?? null;
  const problems = problemsOf(flash, lakes, answering, expected, writes);
  const reads = stats.hits + stats.partials + stats.misses;
  return {
    version: sources.version,
    uptimeMs: sources.nowMs() - sources.startedAtMs,
    ready: problems.length === 0,
    problems,
    lakes,
    policies: sources.policies(),
    flash: {
      path: flash.path,
      usedBytes: flash.usedBytes,
      boundBytes: flash.boundBytes,
      blobs: flash.versions,
      state: flash.state,
      evictions: flash.evictedVersions,
    },
    servers: answering,
    writes,
    totals: {
      hits: stats.hits,
      misses: stats.misses,
      partial: stats.partials,
      forwards: stats.forwards,
      bytesFromFlash: stats.bytesFromFlash,
      bytesFromLake: stats.bytesFilled + stats.bytesForwarded,
      lakeReads: lakeRequests(stats, ["fill", "check", "verdict"]),
      // A hit would have been one read of the lake, for as many bytes.
      lakeReadsSaved: stats.hits,
      bytesSaved: stats.bytesFromFlash,
      fills: stats.fills,
      fillErrors: stats.fillErrors,
      errors: stats.errors,
    },
    hitRatio: reads === 0 ? null : stats.hits / reads,
  };
}
