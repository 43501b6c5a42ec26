/** `/metrics`: the counters in the Prometheus text format, through prom-client, made anew at each scrape. */
import { Counter, Gauge, Registry } from "prom-client";
import { LATENCY_BUCKETS_MS, type Stats, sumStats } from "../engine/stats.ts";
import type { AdminSources } from "./types.ts";
import { overdue } from "./writes-problems.ts";
import type { WritesView } from "./writes-types.ts";

/** Renders all metrics. */
export async function renderMetrics(sources: AdminSources): Promise<string> {
  const { stats: all, answering, expected } = await sources.servers();
  const stats = sumStats(all);
  const registry = new Registry();
  const counter = (
    name: string,
    help: string,
    values: Readonly<Record<string, number>> | number,
    label?: string,
  ): void =>
    fill(
      new Counter({ name: `forebay_${name}`, help, labelNames: label ? [label] : [], registers: [registry] }),
      values,
      label,
    );
  const gauge = (name: string, help: string, values: Readonly<Record<string, number>> | number, label?: string): void =>
    fill(
      new Gauge({ name: `forebay_${name}`, help, labelNames: label ? [label] : [], registers: [registry] }),
      values,
      label,
    );

  const results = {
    hit: stats.hits,
    partial: stats.partials,
    miss: stats.misses,
    forward: stats.forwards,
    answer: stats.answers,
    unavailable: stats.unavailable,
  };
  counter("requests_total", "Requests by how they were answered", results, "result");
  counter("forwards_total", "Requests passed on unchanged, by reason", stats.forwardReasons, "reason");
  const sent = { flash: stats.bytesFromFlash, filling: stats.bytesWhileFilling, lake: stats.bytesForwarded };
  counter("sent_bytes_total", "Payload bytes sent to clients, by where they came from", sent, "source");
  counter("fill_bytes_total", "Bytes that fills brought from the lake", stats.bytesFilled);
  counter("fills_total", "Runs of blocks asked of the lake", stats.fills);
  counter("fill_errors_total", "Runs of blocks that failed", stats.fillErrors);
  counter("md5_mismatches_total", "Blobs whose bytes did not have the MD5 that the lake names", stats.md5Mismatches);
  counter("stale_served_total", "Reads served past their bound in an outage, as the policy says", stats.staleServed);
  counter("verdicts_asked_total", "Callers that the lake was asked to judge", stats.verdictsAsked);
  counter("errors_total", "Errors by code", stats.errors, "code");
  lakeRequests(registry, stats);
  gauge("fills_under_way", "Runs of blocks being brought now", stats.fillsNow);
  gauge("requests_under_way", "Requests being served now", stats.requestsNow);
  gauge("connections", "Client connections open now", stats.connectionsNow);
  gauge("servers", "Server processes that answer, and that should", { answering, expected }, "state");
  flashMetrics(sources, counter, gauge);
  const writes = sources.writes?.() ?? null;
  if (writes !== null) writeMetrics(writes, counter, gauge);
  const lakes = sources.lakes();
  gauge(
    "lake_reachable",
    "Whether the last probe reached the lake",
    perAccount(lakes, (l) => (l.reachable ? 1 : 0)),
    "account",
  );
  gauge(
    "lake_probe_seconds",
    "How long the last probe took",
    perAccount(lakes, (l) => (l.latencyMs ?? 0) / 1000),
    "account",
  );
  return (await registry.metrics()) + latency(stats);
}

type Put = (name: string, help: string, values: Readonly<Record<string, number>> | number, label?: string) => void;

function flashMetrics(sources: AdminSources, counter: Put, gauge: Put): void {
  const flash = sources.flash();
  gauge("flash_ok", "Whether the flash folder can be used", flash.ok ? 1 : 0);
  gauge("flash_used_bytes", "Bytes that cached blobs take on flash", flash.usedBytes);
  gauge("flash_bound_bytes", "Bytes that cached blobs may take", flash.boundBytes);
  gauge("flash_blobs", "Blob versions in the index", flash.versions);
  counter("flash_evictions_total", "Blob versions evicted", flash.evictedVersions);
  counter("flash_evicted_bytes_total", "Bytes evicted", flash.evictedBytes);
  for (const [name, value] of Object.entries(flash.counters)) counter(`flash_${name}_total`, words(name), value);
  for (const [name, value] of Object.entries(flash.gauges)) gauge(`flash_${name}`, words(name), value);
}

function writeMetrics(writes: WritesView, counter: Put, gauge: Put): void {
  const { drain, paths } = writes;
  const oldest = Object.fromEntries(paths.map(({ path, oldestAgeMs }) => [path, (oldestAgeMs ?? 0) / 1000]));
  const stuck = Object.fromEntries(paths.map((path) => [path.path, path.stuck === null ? 0 : 1]));
  gauge("writeback_pending_entries", "Acknowledged writes that the lake does not have yet", writes.pendingEntries);
  gauge("writeback_pending_bytes", "Bytes of acknowledged writes that the lake does not have yet", writes.pendingBytes);
  gauge(
    "writeback_oldest_unflushed_seconds",
    "Age of the oldest write that the lake does not have yet",
    (writes.oldestAgeMs ?? 0) / 1000,
  );
  gauge("writeback_path_oldest_unflushed_seconds", "The same of each policy path that has any", oldest, "path");
  gauge("writeback_path_stuck", "Whether nothing of a policy path gets on at the moment", stuck, "path");
  gauge("writeback_paths_overdue", "Policy paths whose oldest write is past maxUnflushed", overdue(writes).length);
  gauge("writeback_parked_entries", "Writes that wait for an operator", writes.parkedEntries);
  gauge("writeback_conflicted_entries", "Writes on their way to a side name", writes.conflictedEntries);
  gauge("writeback_aside_entries", "Conflicts that wait to be dismissed", writes.asideEntries);
  gauge("writeback_staged_blocks", "Blocks uploaded and not committed yet", writes.stagedBlocks);
  gauge("writeback_staged_bytes", "Bytes of blocks uploaded and not committed yet", writes.stagedBytes);
  gauge("writeback_journal_bytes", "Bytes that the journal's own files take on flash", writes.journalBytes);
  gauge("writeback_journal_ok", "Whether the journal can be written", writes.ok ? 1 : 0);
  gauge("writeback_uploads_under_way", "Uploads to the lake under way", drain.uploadsNow);
  const namesOk = drain.pendingNamesFailure === null ? 1 : 0;
  gauge("writeback_pending_names_ok", "Whether the list of pending names in the lake could be written", namesOk);
  if (drain.bytesPerSecondMax !== null) {
    gauge("writeback_rate_limit_bytes", "Bytes per second that may be sent to the lake", drain.bytesPerSecondMax);
  }
  counter("writeback_drained_entries_total", "Writes carried to the lake", drain.carriedEntries);
  counter("writeback_drained_bytes_total", "Bytes of writes carried to the lake", drain.carriedBytes);
  counter("writeback_retries_total", "Requests of the drain sent again", drain.retries);
  counter("writeback_throttled_total", "Answers of the lake that asked the drain for less", drain.throttled);
  counter("writeback_conflicts_total", "Writes that met a foreign change in the lake", drain.conflicts);
  counter("writeback_parked_total", "Writes that the lake refused for good", drain.parked);
}

function words(name: string): string {
  const text = name.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

function perAccount<T extends { account: string }>(
  lakes: readonly T[],
  value: (lake: T) => number,
): Record<string, number> {
  return Object.fromEntries(lakes.map((lake) => [lake.account, value(lake)]));
}

function fill(
  metric: Counter<string> | Gauge<string>,
  values: Readonly<Record<string, number>> | number,
  label: string | undefined,
): void {
  if (typeof values === "number") metric.inc(values);
  else for (const [name, value] of Object.entries(values)) metric.inc({ [label ?? "name"]: name }, value);
}

function lakeRequests(registry: Registry, stats: Stats): void {
  const metric = new Counter({
    name: "forebay_lake_requests_total",
    help: "Requests sent to the lake, by what for and by status or error",
    labelNames: ["kind", "outcome"],
    registers: [registry],
  });
  for (const [name, times] of Object.entries(stats.lakeRequests)) {
    const dot = name.indexOf(".");
    metric.inc({ kind: name.slice(0, dot), outcome: name.slice(dot + 1) }, times);
  }
}

/** A histogram from buckets counted elsewhere: prom-client's own can only observe, so its lines are written here. */
function latency(stats: Stats): string {
  const name = "forebay_first_byte_seconds";
  const lines = [
    `# HELP ${name} Time to the first byte of the answer, by how it was answered`,
    `# TYPE ${name} histogram`,
  ];
  for (const [result, counted] of Object.entries(stats.latency)) {
    let sum = 0;
    counted.forEach((times, i) => {
      sum += times;
      const bound = LATENCY_BUCKETS_MS[i];
      const le = bound === undefined ? "+Inf" : String(bound / 1000);
      lines.push(`${name}_bucket{result="${result}",le="${le}"} ${sum}`);
    });
    lines.push(`${name}_sum{result="${result}"} ${(stats.latencySumMs[result] ?? 0) / 1000}`);
    lines.push(`${name}_count{result="${result}"} ${sum}`);
  }
  return `\n${lines.join("\n")}\n`;
}
