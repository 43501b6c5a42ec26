/**
 * The configuration: flags beat environment beats file, one schema (`config-schema.ts`) judges them all, and the
 * result is plain data that crosses between the processes. A setting that is unknown or wrong ends in one line that
 * names it and says what to write instead.
 */
import { resolve } from "node:path";
import { parseDocument } from "yaml";
import type { z } from "zod";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { PolicyRule } from "../engine/policy.ts";
import { type LakeConfig, lakesOf, redactLake } from "./config-lake.ts";
import { policiesOf } from "./config-rules.ts";
import {
  type FileSettings,
  type FlashSize,
  fileSchema,
  type HostPort,
  lakeKeys,
  policyKeys,
  type Setting,
  settings,
} from "./config-schema.ts";

export type { LakeConfig } from "./config-lake.ts";
export type { FlashSize, HostPort } from "./config-schema.ts";

/** Everything `up` needs to know, complete: defaults are filled in and paths are absolute. */
export interface Config {
  readonly lakes: readonly LakeConfig[];
  readonly listen: HostPort;
  readonly admin: HostPort;
  readonly flashFolder: string;
  readonly flashSize: FlashSize;
  readonly servers: number;
  readonly tls: { readonly certFile: string; readonly keyFile: string } | null;
  readonly policies: readonly PolicyRule[];
  /** A file's path, `-` for standard error, or null for none. */
  readonly accessLog: string | null;
  readonly logLevel: string;
  readonly maxConnections: number;
  readonly stopDeadlineMs: number;
  /** Bytes per second that the drain may send to the lake; null: as many as it takes. */
  readonly drainRate: number | null;
  /** How long a graceful stop goes on carrying what is pending. */
  readonly drainDeadlineMs: number;
  /** Whether the lake keeps a list of the names that it does not have yet. */
  readonly pendingNames: boolean;
}

/** Where settings come from. All that reads the outside is a parameter. */
export interface ConfigInput {
  /** Values of flags by setting name (`flashSize`), as typed. */
  readonly flags: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** The folder that relative paths start from. */
  readonly folder: string;
  readonly cpus: number;
  /** Whether no lake at all is fine: for who only looks at the rest. */
  readonly mayLackLake?: boolean;
  /** The text of a file; throws when it cannot be read. */
  readFile(path: string): string;
}

type Raw = Map<string, { readonly value: unknown; readonly where: string }>;

/** Reads and judges all settings. Throws `config` with one line for the first that is unknown or wrong. */
export function loadConfig(input: ConfigInput): Config {
  const fromEnv = rawFromEnv(input.env);
  const fromFlags = rawFromFlags(input.flags);
  const configFile = fromFlags.get("config") ?? fromEnv.get("config");
  const fromFile: Raw = configFile === undefined ? new Map() : rawFromFile(String(configFile.value), input);
  const raw = merge([fromFile, fromEnv, fromFlags]);
  raw.delete("config");
  const checked = fileSchema.safeParse(Object.fromEntries([...raw].map(([name, entry]) => [name, entry.value])));
  if (!checked.success) throw problemOf(checked.error, raw);
  return complete(checked.data, raw, input);
}

function complete(from: FileSettings, raw: Raw, input: ConfigInput): Config {
  const where = (name: string): string => raw.get(name)?.where ?? name;
  const absolute = (path: string): string => resolve(input.folder, path);
  const nowhere = from.lake === undefined && from.lakeFile === undefined && Object.keys(from.lakes ?? {}).length === 0;
  const lakes =
    nowhere && input.mayLackLake === true
      ? []
      : lakesOf(from, { where, readFile: (path) => input.readFile(absolute(path)) });
  if ((from.tlsCert === undefined) !== (from.tlsKey === undefined)) {
    const [given, missing] = from.tlsKey === undefined ? ["tlsCert", "tlsKey"] : ["tlsKey", "tlsCert"];
    throw new ForebayError("config", `${where(given)}: needs ${missing} too; write both --tls-cert and --tls-key`);
  }
  return {
    lakes,
    listen: from.listen ?? { host: "127.0.0.1", port: 10_100 },
    admin: from.admin ?? { host: "127.0.0.1", port: 10_190 },
    flashFolder: absolute(from.flash ?? ".forebay/flash"),
    flashSize: from.flashSize ?? { percent: 80 },
    servers: from.servers ?? Math.max(1, Math.min(16, input.cpus)),
    tls:
      from.tlsCert === undefined || from.tlsKey === undefined
        ? null
        : { certFile: absolute(from.tlsCert), keyFile: absolute(from.tlsKey) },
    policies: policiesOf(from.policies ?? [], lakes, where("policies")),
    accessLog:
      from.accessLog === undefined || from.accessLog === "-" ? (from.accessLog ?? null) : absolute(from.accessLog),
    logLevel: from.logLevel ?? "info",
    maxConnections: from.maxConnections ?? limits.connectionsMax,
    stopDeadlineMs: from.stopDeadline ?? limits.gracefulStopMs,
    drainRate: from.drainRate ?? null,
    drainDeadlineMs: from.drainDeadline ?? limits.drainStopMs,
    pendingNames: from.pendingNames ?? true,
  };
}

// Kubernetes gives every container such variables for a service that is called "forebay…".
const SERVICE_LINK = /^FOREBAY_(.*_)?(SERVICE_HOST|SERVICE_PORT(_.*)?|PORT(_\d+_(TCP|UDP)(_.*)?)?)$/;

/** The tests have variables of their own, which what they start inherits. */
const OF_TESTS = /^FOREBAY_(TEST|CONFORMANCE)_/;

function rawFromEnv(env: ConfigInput["env"]): Raw {
  const raw: Raw = new Map();
  for (const [name, value] of Object.entries(env)) {
    if (!name.startsWith("FOREBAY_") || value === undefined) continue;
    if (SERVICE_LINK.test(name) || OF_TESTS.test(name)) continue;
    const setting = settings.find((candidate) => candidate.env === name);
    if (setting === undefined)
      throw unknown(
        name,
        settings.map((candidate) => candidate.env),
        "",
      );
    if (value !== "") raw.set(setting.name, { value: written(setting, value, name), where: name });
  }
  return raw;
}

function rawFromFlags(flags: ConfigInput["flags"]): Raw {
  const raw: Raw = new Map();
  for (const [name, value] of Object.entries(flags)) {
    const setting = settings.find((candidate) => candidate.name === name);
    if (setting === undefined)
      throw unknown(
        name,
        settings.map((candidate) => candidate.name),
        "",
      );
    raw.set(name, { value: written(setting, value, setting.flag), where: setting.flag });
  }
  return raw;
}

/** What was written for a setting on the command line or in the environment. */
function written(setting: Setting, value: string, where: string): unknown {
  return setting.structured === true ? parseYaml(value, where) : value;
}

function rawFromFile(path: string, input: ConfigInput): Raw {
  let text: string;
  try {
    text = input.readFile(resolve(input.folder, path));
  } catch (error) {
    throw new ForebayError("config", `config: cannot read ${path} (${reasonOf(error)}); write the path of a YAML file`);
  }
  const content = parseYaml(text, path) ?? {};
  if (typeof content !== "object" || Array.isArray(content)) {
    throw new ForebayError("config", `${path}: is not a map of settings; write for example "lake: …"`);
  }
  const known: string[] = settings.map((setting) => setting.name).filter((name) => name !== "config");
  const raw: Raw = new Map();
  for (const [name, value] of Object.entries(content)) {
    if (!known.includes(name)) throw unknown(name, known, `${path}: `);
    if (value !== null) raw.set(name, { value, where: `${path}: ${name}` });
  }
  return raw;
}

function parseYaml(text: string, where: string): unknown {
  const document = parseDocument(text, { prettyErrors: false });
  const first = document.errors[0];
  if (first === undefined) return document.toJS();
  const line = text.slice(0, first.pos[0]).split("\n").length;
  throw new ForebayError("config", `${where}: line ${line} is not valid YAML: ${first.message}`);
}

/** Later sources win setting by setting; ways to say the same thing displace each other. */
function merge(sources: readonly Raw[]): Raw {
  const merged: Raw = new Map();
  for (const source of sources) {
    if (source.has("lake") && source.has("lakeFile")) {
      const where = source.get("lakeFile")?.where ?? "lakeFile";
      throw new ForebayError("config", `${where}: is given beside lake; write only one of lake and lakeFile`);
    }
    if (source.has("lake")) merged.delete("lakeFile");
    if (source.has("lakeFile")) merged.delete("lake");
    for (const [name, entry] of source) merged.set(name, entry);
  }
  return merged;
}

/** The first problem that the schema found, as one line. */
function problemOf(error: z.ZodError, raw: Raw): ForebayError {
  const issue = error.issues[0];
  if (issue === undefined) return new ForebayError("config", "the configuration is wrong");
  const [top, ...rest] = issue.path.map((part) => (typeof part === "symbol" ? String(part) : part));
  const deeper = rest.map((part) => (typeof part === "number" ? `[${part}]` : `.${part}`)).join("");
  const where = `${raw.get(String(top))?.where ?? String(top)}${deeper}`;
  if (issue.code === "unrecognized_keys") {
    return unknown(issue.keys[0] ?? "", top === "policies" ? policyKeys : lakeKeys, `${where}: `);
  }
  return new ForebayError("config", `${where}: ${issue.message}`);
}

function unknown(name: string, known: readonly string[], before: string): ForebayError {
  const plain = (text: string): string => text.replace(/[-_]/g, "").toLowerCase();
  const close =
    known.find((candidate) => plain(candidate) === plain(name)) ?? known.find((k) => differByLittle(k, name));
  const hint = close === undefined ? `known are ${known.join(", ")}` : `did you mean ${close}?`;
  return new ForebayError("config", `${before}${name}: is no setting; ${hint}`);
}

/** Whether one letter was left out, added or changed, or two neighbours were swapped. */
function differByLittle(a: string, b: string): boolean {
  let start = 0;
  while (start < a.length && a[start] === b[start]) start++;
  let end = 0;
  while (end < Math.min(a.length, b.length) - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const [left, right] = [a.slice(start, a.length - end), b.slice(start, b.length - end)];
  if (left.length <= 1 && right.length <= 1) return true;
  return left.length === 2 && left === [...right].reverse().join("");
}

function reasonOf(error: unknown): string {
  const code = (error as NodeJS.ErrnoException | null)?.code;
  return code === "ENOENT" ? "no such file" : (code ?? asForebayError(error).message);
}

/**
 * The bytes that the flash may grow to. A share is one of the room that others leave on its file system: what is free
 * (`freeBytes`) and what the flash folder holds already (`usedBytes`).
 */
export function flashBoundBytes(size: FlashSize, freeBytes: number, usedBytes: number): number {
  if ("bytes" in size) return size.bytes;
  return Math.floor(((freeBytes + usedBytes) * size.percent) / 100);
}

/** The configuration with every secret replaced by `***`, for display. */
export function redacted(config: Config): Config {
  return { ...config, lakes: config.lakes.map(redactLake) };
}
