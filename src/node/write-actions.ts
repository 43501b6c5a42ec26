/** What an operator may do about writes that the lake does not have yet: the journal and the drain behind the admin API. */
import type { Decided, EntryContent, WriteActions } from "../admin/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { Entry, Journal } from "../journal/types.ts";
import type { Drain } from "../writeback/types.ts";
import { parsePolicyPath } from "./config-policy.ts";
import { entryBytes } from "./entry-bytes.ts";
import { flushScope } from "./flush-scope.ts";
import { entryView } from "./writes-view.ts";

export interface WriteActionParts {
  /** Moves through it are seen by everybody, as those of the drain are. */
  readonly journal: Pick<Journal, "view" | "move" | "readInline">;
  readonly drain: Pick<Drain, "decide" | "flush" | "wake">;
  readonly disk: Disk;
  readonly clock: Clock;
  /** The accounts of all lakes. */
  readonly accounts: () => readonly string[];
  /** Told of what was decided: it may have cost the only copy of something. */
  readonly log?: (level: "info", message: string, fields: Record<string, unknown>) => void;
}

export function createWriteActions(parts: WriteActionParts): WriteActions {
  const { journal, disk, clock, accounts } = parts;
  return {
    entries: ({ afterSeq, limit, states }) => {
      const entries = [];
      for (const entry of journal.view.entries()) {
        if (entry.seq <= afterSeq || (states.length > 0 && !states.includes(entry.state.name))) continue;
        if (entries.length === limit) return { entries, more: true };
        entries.push(entryView(entry, clock.wallMs()));
      }
      return { entries, more: false };
    },
    entry: (seq) => {
      const entry = journal.view.entry(seq);
      return entry === null ? null : entryView(entry, clock.wallMs());
    },
    decide: async (seq, decision) => {
      const before = journal.view.entry(seq);
      if (before === null) return { result: "gone" };
      const outcome = await decide(parts, before, decision);
      if (outcome.result === "done") {
        const blob = `${before.name.account}:${before.name.container}/${before.name.blob}`;
        parts.log?.("info", "an operator decided about a write", { seq, decision, was: before.state.name, blob });
      }
      return outcome;
    },
    scopeProblem: (scope) => scopeProblem(scope, accounts()),
    flush: (request, tell) => flushScope(parts, request, tell),
    content: (seq) => content(journal.view.entry(seq), disk, journal),
  };
}

async function decide({ journal, drain }: WriteActionParts, entry: Entry, decision: Decision): Promise<Decided> {
  const { seq, state } = entry;
  const reason = refusal(entry, decision);
  if (reason !== null) return { result: "refused", state: state.name, reason };
  if (decision !== "exported") return decided(seq, await drain.decide(seq, decision), decision, journal);
  const moved = await journal.move(seq, { name: "export" });
  drain.wake();
  return moved.kind === "moved" ? done(moved.entry.state.name) : changedMeanwhile(moved.state);
}

type Decision = Parameters<WriteActions["decide"]>[1];

/** Why a decision does not fit an entry; null when it does. The journal's own table has the last word. */
function refusal({ seq, state }: Entry, decision: Decision): string | null {
  const { name } = state;
  if (decision === "retry" && name !== "parked") return `entry ${seq} is ${name}: only what is parked is tried again`;
  if (decision === "dismiss" && name !== "aside") return `entry ${seq} is ${name}: only what is aside is dismissed`;
  if (decision === "exported" && name !== "parked" && name !== "conflicted") {
    return `entry ${seq} is ${name}: it stays in the journal`;
  }
  if (decision === "discard" && name === "aside") return `entry ${seq} is aside: the lake has it already; dismiss it`;
  if (decision === "discard" && name !== "parked" && name !== "conflicted") {
    return `entry ${seq} is ${name}, on its way to the lake: delete the blob instead`;
  }
  return null;
}

function decided(
  seq: number,
  state: Entry["state"] | null,
  decision: Exclude<Decision, "exported">,
  journal: Pick<Journal, "view">,
): Decided {
  const now = state ?? journal.view.entry(seq)?.state ?? null;
  if (decision === "retry") return now?.name === "parked" ? changedMeanwhile(now) : done(now?.name ?? "settled");
  const wanted = decision === "discard" ? "discarded" : "dismissed";
  return now === null || now.name === wanted ? done(wanted) : changedMeanwhile(now);
}

function done(state: string): Decided {
  return { result: "done", state };
}

function changedMeanwhile(state: Entry["state"] | null): Decided {
  if (state === null) return { result: "gone" };
  return { result: "refused", state: state.name, reason: `the entry is ${state.name} by now` };
}

function content(entry: Entry | null, disk: Disk, journal: Pick<Journal, "readInline">): EntryContent {
  if (entry === null) return { result: "gone" };
  const none = (reason: string): EntryContent => ({ result: "none", reason: `entry ${entry.seq} ${reason}` });
  if (entry.kind === "delete") return none("is a deletion: it has no bytes");
  if (entry.state.name === "aside") return none(`is in the lake as ${entry.state.sideName ?? "nothing"}`);
  if (entry.content.kind === "damaged") return none("has lost its bytes");
  return { result: "bytes", sizeBytes: entry.put.sizeBytes, pieces: entryBytes(entry, disk, journal) };
}

function scopeProblem(scope: string, accounts: readonly string[]): string | null {
  const path = parsePolicyPath(scope);
  if ("problem" in path) return path.problem;
  if (path.account === null || accounts.includes(path.account)) return null;
  return `account "${path.account}" is none of the lakes; write one of ${accounts.join(", ")}`;
}
