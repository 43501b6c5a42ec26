/** How `status` looks to people. */
import { z } from "zod";
import { formatBytes } from "../src/base/units.ts";
import { aligned, bar, formatDuration, number, plural } from "./output.ts";
import { writesRows, writesSchema } from "./status-writes.ts";

const count = z.number();

/** The part of the admin API's status that is shown. */
export const statusSchema = z.object({
  version: z.string(),
  uptimeMs: count,
  ready: z.boolean(),
  problems: z.array(z.string()),
  lakes: z.array(
    z.object({
      account: z.string(),
      url: z.string(),
      reachable: z.boolean().nullable(),
      credential: z.string(),
      latencyMs: count.nullable(),
    }),
  ),
  policies: z.array(
    z.object({
      path: z.string(),
      maxStaleMs: z.union([count, z.literal("immutable")]),
      onLakeOutage: z.string(),
      verdict: z.string(),
      write: z.string().optional(),
      exclusive: z.boolean().optional(),
      whenParked: z.string().optional(),
      tier: z.string().nullish(),
      maxUnflushedMs: count.nullish(),
    }),
  ),
  flash: z.object({
    path: z.string(),
    usedBytes: count,
    boundBytes: count,
    blobs: count,
    state: z.string(),
    evictions: count,
  }),
  servers: count,
  writes: writesSchema.nullish(),
  totals: z.object({
    hits: count,
    misses: count,
    partial: count,
    forwards: count,
    bytesFromFlash: count,
    bytesFromLake: count,
    lakeReads: count,
    lakeReadsSaved: count,
    bytesSaved: count,
    fills: count,
    fillErrors: count,
    errors: z.record(z.string(), count),
  }),
  hitRatio: count.nullable(),
});

/** A status as the admin API gives it. */
export type Status = z.output<typeof statusSchema>;

/** The lines of a status. */
export function renderStatus(status: Status): string[] {
  const { flash, totals } = status;
  const used = flash.boundBytes === 0 ? 0 : flash.usedBytes / flash.boundBytes;
  const ratio = status.hitRatio === null ? "no reads yet" : `${(status.hitRatio * 100).toFixed(1)}% hits`;
  const errors = Object.entries(totals.errors).filter(([, times]) => times > 0);
  const reads = `${ratio}: ${number(totals.hits)} hits, ${number(totals.partial)} partial, ${number(totals.misses)} misses`;
  const rows: string[][] = [
    [
      "state",
      `${status.ready ? "ready" : "NOT READY"}, up ${formatDuration(status.uptimeMs)}, ${plural(status.servers, "server")}`,
    ],
    ...status.problems.map((problem) => ["problem", problem]),
    ...status.lakes.map((lake) => ["lake", lakeLine(lake)]),
    [
      "flash",
      `${bar(used, 20)} ${formatBytes(flash.usedBytes)} of ${formatBytes(flash.boundBytes)} (${Math.round(used * 100)}%)`,
    ],
    ["", `${flash.path}: ${flash.state}, ${plural(flash.blobs, "blob")}, ${plural(flash.evictions, "eviction")}`],
    ...(status.writes === null || status.writes === undefined ? [] : writesRows(status.writes)),
    ["reads", `${reads}, ${number(totals.forwards)} forwarded`],
    ["bytes", `${formatBytes(totals.bytesFromFlash)} from flash, ${formatBytes(totals.bytesFromLake)} from the lake`],
    ["saved", `${plural(totals.lakeReadsSaved, "lake read")}, ${formatBytes(totals.bytesSaved)} of lake traffic`],
    ["fills", `${number(totals.fills)}, ${number(totals.fillErrors)} failed; ${plural(totals.lakeReads, "lake read")}`],
    ...(errors.length === 0 ? [] : [["errors", errors.map(([code, times]) => `${code} ${number(times)}`).join(", ")]]),
    ...status.policies.map((policy, index) => [index === 0 ? "policies" : "", policyLine(policy)]),
  ];
  return [`Forebay ${status.version}`, ...aligned(rows)];
}

function lakeLine(lake: Status["lakes"][number]): string {
  const reach = lake.reachable === null ? "not asked yet" : lake.reachable ? "reachable" : "UNREACHABLE";
  const latency = lake.latencyMs === null ? "" : `, ${lake.latencyMs.toFixed(lake.latencyMs < 10 ? 1 : 0)} ms`;
  return `${lake.account} at ${lake.url}: ${reach}${latency}, credential ${lake.credential}`;
}

function policyLine(policy: Status["policies"][number]): string {
  const stale = policy.maxStaleMs === "immutable" ? "immutable" : `checked after ${formatDuration(policy.maxStaleMs)}`;
  const outage = policy.onLakeOutage === "serve" ? ", served in an outage" : "";
  const verdict = policy.verdict === "container" ? ", one verdict per container" : "";
  return `${policy.path === "" ? '""' : policy.path}: ${stale}${outage}${verdict}${writePart(policy)}`;
}

function writePart({ write, exclusive, whenParked, tier, maxUnflushedMs }: Status["policies"][number]): string {
  if (write !== "back") return "";
  const parts = [
    "writes back",
    ...(exclusive === true ? ["exclusive"] : []),
    ...(whenParked === "pass" ? ["parked writes let others pass"] : []),
    ...(typeof tier === "string" ? [`tier ${tier}`] : []),
    ...(typeof maxUnflushedMs === "number" ? [`in the lake within ${formatDuration(maxUnflushedMs)}`] : []),
  ];
  return `, ${parts.join(", ")}`;
}
