/** `forebay flush`: waits until what was acknowledged is in the lake. */
import { type Command, Option } from "commander";
import { z } from "zod";
import { ForebayError } from "../src/base/errors.ts";
import { limits } from "../src/base/limits.ts";
import { formatBytes, parseDurationMs } from "../src/base/units.ts";
import { parsePolicyPath } from "../src/node/config-policy.ts";
import {
  type AdminFlags,
  addAdminFlags,
  adminAddress,
  askAdmin,
  entrySchema,
  judged,
  printJson,
  refusalOf,
} from "./admin-client.ts";
import { linesOf } from "./lines.ts";
import { aligned, formatDuration, plural, startCountdown } from "./output.ts";
import { attentionRows } from "./status-writes.ts";

const EXAMPLES = `
Everything that was acknowledged before the call is waited for; what comes later is not. Exit status 1 when the time is
up, or when parked writes hold it up: they are named, with what to do about them.

Examples:
  forebay flush                                      before this machine is switched off
  forebay flush checkpoints/run-42/ --timeout 1h
  forebay flush --staged                             also blocks of uploads that are under way
  forebay flush --no-wait --json                     only tell what is left`;

const left = z.object({ entries: z.number(), bytes: z.number() });
const outcome = z.discriminatedUnion("result", [
  z.object({ result: z.literal("done") }),
  z.object({ result: z.literal("timeout"), left }),
  z.object({ result: z.literal("parked"), left, entries: z.array(entrySchema) }),
  z.object({ result: z.literal("failed") }),
]);
const word = z.union([outcome, z.object({ left })]);

type Left = z.output<typeof left>;
type Outcome = z.output<typeof outcome>;

interface Flags extends AdminFlags {
  readonly wait: boolean;
  readonly timeout: string;
  readonly staged?: boolean;
}

/** Adds the command. */
export function registerFlush(program: Command): void {
  const command = program
    .command("flush")
    .argument("[CONTAINER/PREFIX]", "only this part, if need be with ACCOUNT: in front (default: everything)")
    .description("wait until what was acknowledged on flash is in the lake")
    .addOption(new Option("--wait", "wait until it is there").default(true, "on"))
    .option("--no-wait", "only wake the drain, and tell what is left")
    .option("--timeout <DURATION>", "how long to wait", "10m")
    .option("--staged", "also upload, without committing them, blocks of uploads that are under way");
  addAdminFlags(command, "print the outcome as JSON")
    .addHelpText("after", EXAMPLES)
    .action(async (scope: string | undefined, flags: Flags) => {
      process.exitCode = await flush(scope ?? "", flags);
    });
}

async function flush(scope: string, flags: Flags): Promise<number> {
  const admin = adminAddress(flags);
  const path = parsePolicyPath(scope);
  if ("problem" in path) throw new ForebayError("usage", path.problem);
  const wish = { scope, timeoutMs: flags.wait ? timeoutOf(flags.timeout) : 0, staged: flags.staged === true };
  const body = JSON.stringify(wish);
  const started = performance.now();
  const ended = await watched(admin, body, flags.json !== true && flags.wait);
  if (flags.json === true) printJson(ended);
  else for (const line of told(ended, flags, performance.now() - started)) process.stdout.write(`${line}\n`);
  if (ended.result === "timeout") return flags.wait ? 1 : 0;
  return ended.result === "done" ? 0 : 1;
}

function timeoutOf(text: string): number {
  try {
    const ms = parseDurationMs(text);
    if (ms <= limits.adminFlushMsMax) return ms;
  } catch {
    throw new ForebayError("usage", `--timeout: "${text}" is not a duration; write for example 30s, 10m or 2h`);
  }
  const most = formatDuration(limits.adminFlushMsMax);
  throw new ForebayError("usage", `--timeout: "${text}" is too long; write ${most} or less`);
}

/** The outcome; what is left is shown on the way if `shown`. */
async function watched(admin: string, body: string, shown: boolean): Promise<Outcome> {
  const accept = "application/x-ndjson";
  const response = await askAdmin(admin, "/api/v1/flush", { method: "POST", body, accept, withinMs: null });
  if (!response.ok) throw await refusalOf(admin, response);
  const progress = shown ? startCountdown("flush") : { show: () => {}, end: () => {} };
  try {
    for await (const line of linesOf(response)) {
      const said = judged(word, JSON.parse(line), admin);
      if ("result" in said) return said;
      progress.show(said.left.entries, said.left.bytes);
    }
  } catch (error) {
    if (error instanceof ForebayError) throw error;
    throw new ForebayError("timeout", `the Forebay at ${admin} went away during the flush; run it again`, {
      cause: error,
    });
  } finally {
    progress.end();
  }
  throw new ForebayError("timeout", `the Forebay at ${admin} went away during the flush; run it again`);
}

function told(ended: Outcome, flags: Flags, tookMs: number): string[] {
  switch (ended.result) {
    case "done":
      return [`everything is in the lake (${formatDuration(tookMs)})`];
    case "failed":
      return ["the flush failed; see the log of the Forebay, and run it again"];
    case "timeout":
      if (!flags.wait) return [`${leftText(ended.left)} on the way to the lake`];
      return [
        `not everything is in the lake after ${flags.timeout}: ${leftText(ended.left)} left; \`forebay status\` says why`,
      ];
    case "parked":
      return [
        `held up: ${leftText(ended.left)} left, behind ${plural(ended.entries.length, "parked write")}`,
        ...aligned(ended.entries.flatMap(attentionRows)),
      ];
  }
}

function leftText({ entries, bytes }: Left): string {
  return `${plural(entries, "write")} (${formatBytes(bytes)})`;
}
