/** How commands talk to a running Forebay: its admin API. */
import type { Command } from "commander";
import { z } from "zod";
import { OPERATOR_HEADER } from "../src/admin/guard.ts";
import { ForebayError } from "../src/base/errors.ts";
import { parseHostPort } from "../src/node/config-schema.ts";
import { plain } from "./output.ts";

const ANSWER_WITHIN_MS = 5_000;
const REMEDY = "start one with `forebay up`, or name its address with --admin HOST:PORT";

/** What commands of this kind have in common. */
export interface AdminFlags {
  readonly admin?: string;
  readonly json?: boolean;
}

/** Adds `--admin` and `--json`. */
export function addAdminFlags(command: Command, json: string): Command {
  return command
    .option("--admin <HOST:PORT>", "where its admin API listens (default: FOREBAY_ADMIN, or 127.0.0.1:10190)")
    .option("--json", json);
}

/** The address to ask. Throws `usage` for one that is none. */
export function adminAddress(flags: AdminFlags): string {
  const admin = flags.admin ?? process.env["FOREBAY_ADMIN"] ?? "127.0.0.1:10190";
  try {
    parseHostPort(admin);
  } catch {
    throw new ForebayError(
      "usage",
      `--admin: "${admin}" is not an address; write HOST:PORT, for example 127.0.0.1:10190`,
    );
  }
  return admin;
}

/** What a request may say. */
export interface AskOptions {
  readonly method?: string;
  readonly body?: string;
  readonly accept?: string;
  /** Null: as long as it takes. */
  readonly withinMs?: number | null;
}

/** Asks as an operator. Throws `timeout` when nobody answers; any status is an answer. */
export async function askAdmin(admin: string, path: string, options: AskOptions = {}): Promise<Response> {
  const { method = "GET", body, accept, withinMs = ANSWER_WITHIN_MS } = options;
  const headers = { [OPERATOR_HEADER]: "true", ...(accept === undefined ? {} : { accept }) };
  const signal = withinMs === null ? null : AbortSignal.timeout(withinMs);
  try {
    return await fetch(`http://${admin}${path}`, { method, headers, signal, ...(body === undefined ? {} : { body }) });
  } catch (error) {
    throw new ForebayError("timeout", `no Forebay answers at ${admin}: ${REMEDY}`, { cause: error });
  }
}

/** The JSON of a good answer. Throws what the answer says of itself otherwise. */
export async function jsonOf(admin: string, response: Response): Promise<unknown> {
  if (!response.ok) throw await refusalOf(admin, response);
  try {
    return await response.json();
  } catch (error) {
    throw new ForebayError("timeout", `what answers at ${admin} is no Forebay: ${REMEDY}`, { cause: error });
  }
}

const complaint = z.union([
  z.object({ error: z.string() }).transform(({ error }) => error),
  z.object({ reason: z.string() }).transform(({ reason }) => reason),
]);

/** The error that an answer stands for. */
export async function refusalOf(admin: string, response: Response): Promise<ForebayError> {
  const body: unknown = await response.json().catch(() => null);
  const said = complaint.safeParse(body);
  if (said.success) return new ForebayError(response.status === 400 ? "usage" : "lake-refused", plain(said.data));
  const what = `${admin} answered ${response.status}: is it a Forebay's admin address? Else ${REMEDY}`;
  return new ForebayError("timeout", what);
}

/** `answer` as `schema` has it. Throws when it is that of another version. */
export function judged<T>(schema: z.ZodType<T>, answer: unknown, admin: string): T {
  const checked = schema.safeParse(answer);
  if (checked.success) return checked.data;
  const where = checked.error.issues[0]?.path.join(".") ?? "";
  throw new ForebayError("lake-refused", `${admin} speaks another version of the admin API (${where}); use --json`);
}

/** Prints a value for machines. */
export function printJson(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`);
}

/** An entry of the journal as the admin API gives it. */
export const entrySchema = z.object({
  seq: z.number(),
  kind: z.enum(["put", "delete"]),
  state: z.string(),
  reason: z.string().nullable(),
  sideName: z.string().nullable(),
  path: z.string(),
  account: z.string(),
  container: z.string(),
  blob: z.string(),
  sizeBytes: z.number().nullable(),
  ageMs: z.number(),
  next: z.string().nullable(),
});

export type ShownEntry = z.output<typeof entrySchema>;

/** A blob as people name it. */
export function blobName(entry: ShownEntry): string {
  return plain(`${entry.account}:${entry.container}/${entry.blob}`);
}
