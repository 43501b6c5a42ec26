/** `forebay journal`: looks into what the lake does not have yet, and decides about what cannot get there. */
import type { Command } from "commander";
import { z } from "zod";
import { ForebayError } from "../src/base/errors.ts";
import { limits } from "../src/base/limits.ts";
import { formatBytes } from "../src/base/units.ts";
import {
  type AdminFlags,
  addAdminFlags,
  adminAddress,
  askAdmin,
  blobName,
  entrySchema,
  jsonOf,
  judged,
  printJson,
} from "./admin-client.ts";
import { exportEntry } from "./journal-export.ts";
import { aligned, formatDuration, plain, plural, say } from "./output.ts";

const EXAMPLES = `
An entry is parked when the lake refuses it for good, or its bytes are damaged: mend the cause and retry, or export the
bytes, or discard them. It is aside when the blob was also written past Forebay: both versions are in the lake then, and
dismiss says that you have seen it.

Examples:
  forebay journal list --state parked
  forebay journal retry 12
  forebay journal export 12 model.bin
  forebay journal discard 12 --yes`;

/** Adds the command and those below it. */
export function registerJournal(program: Command): void {
  const journal = program
    .command("journal")
    .description("list and decide about acknowledged writes that are not in the lake")
    .helpCommand(false)
    .addHelpText("after", EXAMPLES);
  registerList(journal);
  registerDecision(journal, "retry", "carry parked entries again", "will be carried to the lake again");
  registerExport(journal);
  registerDiscard(journal);
  registerDecision(journal, "dismiss", "forget conflicts that were dealt with", "is forgotten");
}

interface ListFlags extends AdminFlags {
  readonly state?: string;
  readonly limit: string;
}

const STATES = ["acknowledged", "draining", "parked", "conflicted", "aside"] as const;
const listSchema = z.object({ entries: z.array(entrySchema), more: z.boolean() });

function registerList(journal: Command): void {
  const command = journal
    .command("list")
    .description("show the entries, the oldest first")
    .option("--state <STATES>", `only these, for example parked,aside: ${STATES.join(", ")}`)
    .option("--limit <N>", "at most so many", "100");
  addAdminFlags(command, "print the entries as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  forebay journal list\n  forebay journal list --state parked,aside\n  forebay journal list --limit 10000 --json | jq '.entries[].blob'",
    )
    .action(async (flags: ListFlags) => {
      const admin = adminAddress(flags);
      const query = new URLSearchParams({ limit: limitOf(flags.limit), state: statesOf(flags.state) });
      const answer = await jsonOf(admin, await askAdmin(admin, `/api/v1/journal?${query}`));
      if (flags.json === true) printJson(answer);
      else for (const line of renderEntries(judged(listSchema, answer, admin))) process.stdout.write(`${line}\n`);
    });
}

function limitOf(text: string): string {
  if (/^\d{1,5}$/.test(text) && Number(text) >= 1 && Number(text) <= limits.adminEntriesMax) return text;
  throw new ForebayError("usage", `--limit: "${text}" is not a whole number from 1 to ${limits.adminEntriesMax}`);
}

function statesOf(text: string | undefined): string {
  if (text === undefined) return "";
  const known: readonly string[] = STATES;
  const wrong = text.split(",").find((state) => !known.includes(state));
  if (wrong === undefined) return text;
  throw new ForebayError("usage", `--state: "${wrong}" is not known here; write one or more of ${STATES.join(",")}`);
}

/** The table of entries. */
export function renderEntries({ entries, more }: z.output<typeof listSchema>): string[] {
  if (entries.length === 0) return ["there is none"];
  const rows = entries.map((entry) => [
    String(entry.seq),
    entry.state,
    formatDuration(entry.ageMs),
    entry.sizeBytes === null ? "deletion" : formatBytes(entry.sizeBytes),
    entry.path === "" ? '""' : entry.path,
    blobName(entry),
    plain(entry.reason ?? (entry.sideName === null ? "" : `as ${entry.sideName}`)),
  ]);
  const lines = aligned([["seq", "state", "age", "size", "path", "blob", "reason"], ...rows], [0, 2, 3]);
  return more ? [...lines, "and more: name a larger --limit"] : lines;
}

type Decision = "retry" | "dismiss" | "discard";

function registerDecision(journal: Command, decision: "retry" | "dismiss", what: string, done: string): void {
  const command = journal.command(decision).argument("<SEQ...>", "numbers of entries").description(what);
  addAdminFlags(command, "print the outcomes as JSON")
    .addHelpText("after", `\nExamples:\n  forebay journal ${decision} 12\n  forebay journal ${decision} 12 15 16`)
    .action((seqs: string[], flags: AdminFlags) => decide(seqs, decision, done, flags));
}

interface DiscardFlags extends AdminFlags {
  readonly yes?: boolean;
}

function registerDiscard(journal: Command): void {
  const command = journal
    .command("discard")
    .argument("<SEQ...>", "numbers of entries")
    .description("throw parked entries away: the lake keeps what it has")
    .option("--yes", "really: what was acknowledged is lost");
  addAdminFlags(command, "print the outcomes as JSON")
    .addHelpText("after", "\nExamples:\n  forebay journal discard 12 --yes")
    .action(async (seqs: string[], flags: DiscardFlags) => {
      if (flags.yes !== true) {
        const instead = `keep the bytes with \`forebay journal export ${seqs[0] ?? "SEQ"} FILE\`, or add --yes`;
        throw new ForebayError("usage", `discard throws away for good what was acknowledged; ${instead}`);
      }
      await decide(seqs, "discard", "is thrown away", flags);
    });
}

function registerExport(journal: Command): void {
  const command = journal
    .command("export")
    .argument("<SEQ>", "number of an entry")
    .argument("<FILE>", "where its bytes go; must not exist yet")
    .description("copy the bytes of an entry to a file; what was parked then leaves the journal")
    .option("--keep", "leave it in the journal in any case");
  addAdminFlags(command, "print the outcome as JSON")
    .addHelpText(
      "after",
      "\nExamples:\n  forebay journal export 12 /backup/model.bin\n  forebay journal export 12 model.bin --keep",
    )
    .action(async (seq: string, file: string, flags: AdminFlags & { readonly keep?: boolean }) => {
      const admin = adminAddress(flags);
      const outcome = await exportEntry(admin, seqOf(seq), file, flags.keep === true);
      if (flags.json === true) return printJson(outcome);
      const { bytes, state, stays } = outcome;
      process.stdout.write(`${formatBytes(bytes)} of ${outcome.blob} are in ${file}\n`);
      say(stays === null ? `entry ${seq} has left the journal: the lake will not get it from here` : stays);
      if (stays === null && state === "conflicted") say("a part of it may be in the lake under its side name");
    });
}

function seqOf(text: string): number {
  if (/^\d{1,15}$/.test(text)) return Number(text);
  throw new ForebayError("usage", `"${text}" is not the number of an entry; see \`forebay journal list\``);
}

const decidedSchema = z.object({ result: z.literal("done"), state: z.string() });

/** One after the other: a later one may depend on an earlier one. Ends with 1 when any of them was refused. */
async function decide(texts: readonly string[], decision: Decision, done: string, flags: AdminFlags): Promise<void> {
  const admin = adminAddress(flags);
  const outcomes: { seq: number; done: boolean; error?: string }[] = [];
  for (const seq of texts.map(seqOf)) {
    const response = await askAdmin(admin, `/api/v1/journal/${seq}/${decision}`, { method: "POST", withinMs: null });
    try {
      judged(decidedSchema, await jsonOf(admin, response), admin);
      outcomes.push({ seq, done: true });
      if (flags.json !== true) process.stdout.write(`entry ${seq} ${done}\n`);
    } catch (error) {
      if (!(error instanceof ForebayError) || (response.status !== 404 && response.status !== 409)) throw error;
      outcomes.push({ seq, done: false, error: error.message });
      if (flags.json !== true) say(`forebay: ${error.message}`);
    }
  }
  if (flags.json === true) printJson(outcomes);
  const refused = outcomes.filter((outcome) => !outcome.done);
  if (refused.length > 0 && outcomes.length > 1 && flags.json !== true) {
    say(`${plural(refused.length, "entry", "entries")} of ${outcomes.length} not done`);
  }
  process.exitCode = refused.length > 0 ? 1 : 0;
}
