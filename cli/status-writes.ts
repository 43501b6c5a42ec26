/** The part of `status` about writes that the lake does not have yet. */
import { z } from "zod";
import { formatBytes } from "../src/base/units.ts";
import { blobName, entrySchema, type ShownEntry } from "./admin-client.ts";
import { formatDuration, number, plain, plural } from "./output.ts";

const count = z.number();

export const writesSchema = z.object({
  pendingEntries: count,
  pendingBytes: count,
  oldestAgeMs: count.nullable(),
  parkedEntries: count,
  conflictedEntries: count,
  asideEntries: count,
  stagedBlocks: count,
  stagedBytes: count,
  journalBytes: count,
  state: z.string(),
  durability: z.string(),
  drain: z.object({
    carriedEntries: count,
    carriedBytes: count,
    uploadsNow: count,
    bytesPerSecondMax: count.nullable(),
    retries: count,
    throttled: count,
    conflicts: count,
    pendingNamesFailure: z.string().nullish(),
  }),
  paths: z.array(
    z.object({
      path: z.string(),
      oldestAgeMs: count.nullable(),
      stuck: z.object({ reason: z.string(), forMs: count }).nullable(),
    }),
  ),
  attention: z.array(entrySchema),
});

type Writes = z.output<typeof writesSchema>;

/** Rows of a name and what is said of it. */
export function writesRows(writes: Writes): string[][] {
  const { drain } = writes;
  const speed = drain.bytesPerSecondMax === null ? "" : `, at most ${formatBytes(drain.bytesPerSecondMax)}/s`;
  const trouble = `${plural(drain.retries, "retry", "retries")}, ${number(drain.throttled)} throttled`;
  const carried = `${plural(drain.carriedEntries, "write")} (${formatBytes(drain.carriedBytes)}) carried to the lake`;
  const stuck = writes.paths.filter((path) => path.stuck !== null);
  const shown = writes.attention.flatMap(attentionRows);
  const waiting = writes.parkedEntries + writes.conflictedEntries + writes.asideEntries;
  const more = waiting - writes.attention.length;
  return [
    ["writes", pendingLine(writes)],
    ...(writes.pendingEntries === 0 && writes.stagedBlocks === 0 ? [] : [["", lossLine(writes)]]),
    ["", `acknowledged on ${writes.durability}`],
    ["journal", `${writes.state}, ${formatBytes(writes.journalBytes)} on flash${stagedPart(writes)}`],
    ["drain", `${carried}, ${plural(drain.uploadsNow, "upload")} under way${speed}; ${trouble}`],
    ...(typeof drain.pendingNamesFailure === "string"
      ? [["names", `the list of them in the lake could not be written: ${plain(drain.pendingNamesFailure)}`]]
      : []),
    ...stuck.map(({ path, stuck: why }) => [
      "stuck",
      `${path === "" ? '""' : path}: ${plain(why?.reason ?? "")}, for ${formatDuration(why?.forMs ?? 0)}`,
    ]),
    ...shown,
    ...(more > 0 ? [["", `and ${number(more)} more: forebay journal list`]] : []),
  ];
}

function pendingLine({ pendingEntries, pendingBytes, oldestAgeMs }: Writes): string {
  if (pendingEntries === 0) return "everything that was acknowledged is in the lake";
  const oldest = oldestAgeMs === null ? "" : `, the oldest for ${formatDuration(oldestAgeMs)}`;
  return `${plural(pendingEntries, "write")} (${formatBytes(pendingBytes)}) not in the lake yet${oldest}`;
}

function lossLine({ pendingEntries, pendingBytes, stagedBytes, stagedBlocks }: Writes): string {
  const blocks =
    stagedBlocks === 0 ? [] : [`${plural(stagedBlocks, "uncommitted block")} (${formatBytes(stagedBytes)})`];
  const writes = pendingEntries === 0 ? [] : [`${plural(pendingEntries, "write")} (${formatBytes(pendingBytes)})`];
  return `if this machine were lost now: ${[...writes, ...blocks].join(" and ")} would be lost with it`;
}

function stagedPart({ stagedBlocks, stagedBytes }: Writes): string {
  return stagedBlocks === 0 ? "" : `, ${plural(stagedBlocks, "uncommitted block")} (${formatBytes(stagedBytes)})`;
}

/** An entry that waits for an operator, and what to do. */
export function attentionRows(entry: ShownEntry): string[][] {
  const size = entry.sizeBytes === null ? "deletion" : formatBytes(entry.sizeBytes);
  const what = plain(entry.state === "parked" ? (entry.reason ?? "no reason given") : sideOf(entry));
  const line = [
    entry.state === "parked" ? "parked" : "conflict",
    `#${entry.seq} ${blobName(entry)} (${size}): ${what}`,
  ];
  return entry.next === null ? [line] : [line, ["", `→ ${plain(entry.next)}`]];
}

function sideOf({ state, sideName }: ShownEntry): string {
  if (sideName === null) return "the lake changed under it, and keeps what it has";
  return `the lake changed under it; ${state === "aside" ? "it is there" : "it goes there"} as ${sideName}`;
}
