/** What the keeper's process shows of the lake and of the cache. */
import type { FlashView, LakeView } from "../admin/types.ts";
import type { LocalFlashKeeper } from "../flash/keeper-types.ts";
import type { LakeProbe } from "../lake/probe.ts";
import { type LakeClient, lakeOrigin } from "./lakes.ts";

/** One account of the lake as the admin API shows it. */
export function lakeView(account: string, client: LakeClient, probe: LakeProbe | undefined): LakeView {
  const kind = client.lake.credentialKind;
  return {
    account,
    url: lakeOrigin(client.address) + client.address.basePath,
    reachable: probe?.reachable ?? null,
    credential: probe?.credentialOk === false ? `${kind} (refused)` : kind,
    latencyMs: probe?.reachable === true ? probe.latencyMs : null,
    clockSkewMs: probe?.clockSkewMs ?? null,
    problem: probe?.error ?? null,
  };
}

/** The cache as the admin API shows it; `problem` says why there is none. */
export function flashView(
  path: string,
  boundBytes: number,
  keeper: Pick<LocalFlashKeeper, "stats" | "health"> | null,
  problem: string,
): FlashView {
  if (keeper === null) {
    const nothing = { usedBytes: 0, versions: 0, evictedVersions: 0, evictedBytes: 0, counters: {}, gauges: {} };
    return { ...nothing, path, boundBytes, ok: false, state: problem };
  }
  const stats = keeper.stats();
  const health = keeper.health();
  const counters: Record<string, number> = {
    commits: stats.commits,
    committed_blocks: stats.committedBlocks,
    failed_commits: stats.failedCommits,
    leases_timed_out: stats.leasesTimedOut,
    scrubbed_blocks: stats.scrubbedBlocks,
    scrub_bad_blocks: stats.scrubBadBlocks,
    orphans_removed: stats.orphansRemoved,
  };
  for (const [reason, times] of Object.entries(stats.refusals))
    counters[`refused_${reason.replaceAll("-", "_")}`] = times;
  for (const [reason, times] of Object.entries(stats.dropped)) counters[`dropped_${reason}`] = times;
  return {
    path,
    usedBytes: stats.usedBytes,
    boundBytes: stats.boundBytes,
    versions: stats.versions,
    ok: health.ok,
    state: health.ok ? "ok" : health.reason,
    evictedVersions: stats.evictedVersions,
    evictedBytes: stats.evictedBytes,
    counters,
    gauges: {
      pending_blocks: stats.pendingBlocks,
      active_versions: stats.activeVersions,
      leases_held: stats.leasesHeld,
      leases_waiting: stats.leasesWaiting,
    },
  };
}
