/**
 * Every setting, once: its name in the file, and with it its flag (`flashSize` is `--flash-size`) and its environment
 * name (`FOREBAY_FLASH_SIZE`), what it may be, its default, and the lines of help that the command line and
 * `docs/cli.md` show.
 */
import { z } from "zod";
import { asForebayError, ForebayError } from "../base/errors.ts";
import { KIB, limits, MIB } from "../base/limits.ts";
import { parseDurationMs, parseSizeBytes } from "../base/units.ts";
import { parsePolicyPath } from "./config-policy.ts";

/** What help and documentation say of a setting. */
export interface SettingAbout {
  /** What stands for the value in help: `HOST:PORT`. */
  readonly value: string;
  readonly help: string;
  /** A value that works, as it is written on the command line. */
  readonly example: string;
  /** The default in words; empty when there is none. */
  readonly standard: string;
  /** Whether its value must never be shown. */
  readonly secret?: boolean;
  /** A list or map in the file; on the command line and in the environment it is written as YAML. */
  readonly structured?: boolean;
}

/** An address to listen on. */
export interface HostPort {
  readonly host: string;
  /** 0: any free port. */
  readonly port: number;
}

/** How much of the flash may be used: so many bytes, or a share of its file system. */
export type FlashSize = { readonly bytes: number } | { readonly percent: number };

/** Levels of the log, quietest last. */
export const LOG_LEVELS = ["trace", "debug", "info", "warn", "error", "fatal", "silent"] as const;

const wrong = (message: string): ForebayError => new ForebayError("config", message);

const about = z.registry<SettingAbout>();

/** A value that `parse` understands; what `parse` throws is the message. */
function parsed<T>(parse: (text: string) => T) {
  return z
    .union([z.string(), z.number(), z.boolean()], { error: "write one value here, not a list or map" })
    .transform((raw, context): T => {
      try {
        return parse(String(raw));
      } catch (error) {
        context.issues.push({ code: "custom", message: asForebayError(error).message, input: raw });
        return z.NEVER;
      }
    });
}

const text = () =>
  z.string({ error: "write text here, in quotes" }).min(1, { error: "is empty; leave the setting out instead" });

/** One of a few words. Written out by the message when it is another. */
function oneOf<const T extends string>(...words: readonly T[]) {
  const list = words.length === 1 ? words[0] : `${words.slice(0, -1).join(", ")} or ${words.at(-1)}`;
  return z.enum(words, { error: (issue) => `${JSON.stringify(issue.input)} is not known here; write ${list}` });
}

/** HOST:PORT; an IPv6 host stands in brackets. Throws a plain message. */
export function parseHostPort(raw: string): HostPort {
  const match = /^(\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._-]+):(\d{1,5})$/.exec(raw);
  const port = Number(match?.[2]);
  if (!match?.[1] || port > 65_535) {
    throw wrong(`"${raw}" is not an address; write HOST:PORT, for example 127.0.0.1:10100`);
  }
  return { host: match[1].replace(/^\[|\]$/g, ""), port };
}

function parseFlashSize(raw: string): FlashSize {
  const percent = /^(\d{1,3}(?:\.\d+)?)\s*%$/.exec(raw);
  if (percent) {
    const value = Number(percent[1]);
    if (value < 1 || value > 95) throw wrong(`"${raw}" is out of range; write from 1% to 95%`);
    return { percent: value };
  }
  const bytes = parseSizeBytes(raw);
  if (bytes < limits.flashBytesMin) {
    throw wrong(`"${raw}" is too small; write ${limits.flashBytesMin / MIB}MiB or more`);
  }
  return { bytes };
}

/** A whole number from `min` to `max`. */
function whole(raw: string, min: number, max: number): number {
  const value = Number(raw);
  if (!/^\d+$/.test(raw) || value < min || value > max) {
    throw wrong(`"${raw}" is not a whole number from ${min} to ${max}`);
  }
  return value;
}

/** Bytes per second: a size, with or without `/s`. */
function parseRate(raw: string): number {
  const bytes = parseSizeBytes(raw.replace(/\s*\/\s*s$/, ""));
  if (bytes < limits.drainRateBytesMin) {
    throw wrong(
      `"${raw}" is too slow; write ${limits.drainRateBytesMin / KIB}KiB or more, or leave it out for no bound`,
    );
  }
  return bytes;
}

/** Archive is left out on purpose: what is carried there could not be read back. */
const TIERS: Readonly<Record<string, string>> = { hot: "Hot", cool: "Cool", cold: "Cold" };

/** The access tier as the lake's header has it. */
function parseTier(raw: string): string {
  const tier = Object.hasOwn(TIERS, raw.toLowerCase()) ? TIERS[raw.toLowerCase()] : undefined;
  if (tier !== undefined) return tier;
  if (raw.toLowerCase() === "archive") {
    throw wrong(
      `"${raw}" cannot be read back from the lake; write hot, cool or cold, and archive with a lifecycle rule`,
    );
  }
  throw wrong(`"${raw}" is not known here; write hot, cool or cold`);
}

const yesOrNo = () =>
  z.preprocess(
    (raw) => (raw === "true" ? true : raw === "false" ? false : raw),
    z.boolean({
      error: (issue) => `${JSON.stringify(issue.input)} is not known here; write true or false`,
    }),
  );

const maxStale = parsed((raw) => (raw === "immutable" ? ("immutable" as const) : parseDurationMs(raw)));

const policyPath = z
  .string({ error: 'is missing; write CONTAINER/PREFIX, for example datasets/ ("" is the whole account)' })
  .transform((raw, context) => {
    const result = parsePolicyPath(raw);
    if (!("problem" in result)) return result;
    context.issues.push({ code: "custom", message: result.problem, input: raw });
    return z.NEVER;
  });

const policy = z.strictObject(
  {
    path: policyPath,
    maxStale: maxStale.optional(),
    onLakeOutage: oneOf("fail", "serve").optional(),
    verdict: oneOf("blob", "container").optional(),
    write: oneOf("through", "back").optional(),
    exclusive: yesOrNo().optional(),
    whenParked: oneOf("hold", "pass").optional(),
    tier: parsed(parseTier).optional(),
    maxUnflushed: parsed(parseDurationMs).optional(),
  },
  { error: "write a map with path and what holds there" },
);

const namedLakeMap = z.strictObject(
  {
    connectionString: text().optional(),
    connectionStringFile: text().optional(),
    url: text().optional(),
    address: text().optional(),
    extraKeys: z.array(text(), { error: "write a list of keys" }).optional(),
    extraKeysFile: text().optional(),
  },
  { error: "write a connection string, or a map with connectionString, connectionStringFile or url" },
);

const namedLake = z.preprocess((raw) => (typeof raw === "string" ? { connectionString: raw } : raw), namedLakeMap);

/** What a policy and a named lake may say. */
export const policyKeys: readonly string[] = Object.keys(policy.shape);
export const lakeKeys: readonly string[] = Object.keys(namedLakeMap.shape);

/** A lake under `lakes`. */
export type NamedLake = z.output<typeof namedLakeMap>;

/** The YAML file. Every field is also a flag and an environment variable. */
export const fileSchema = z.strictObject({
  lake: text().optional().register(about, {
    value: "LAKE",
    help: "the lake: a connection string, an https://ACCOUNT.blob… URL (with a SAS, or Entra ID), or a name under lakes",
    example: "https://myaccount.blob.core.windows.net",
    standard: "all of lakes",
    secret: true,
  }),
  lakeFile: text().optional().register(about, {
    value: "FILE",
    help: "a file that holds the lake's connection string or URL",
    example: "/run/secrets/lake",
    standard: "",
  }),
  lakes: z.record(z.string(), namedLake, { error: "write a map of names to lakes" }).optional().register(about, {
    value: "YAML",
    help: "several lakes by name, each with connectionString, connectionStringFile or url, and if need be address, extraKeys or extraKeysFile",
    example: '{training: {url: "https://myaccount.blob.core.windows.net"}}',
    standard: "",
    secret: true,
    structured: true,
  }),
  listen: parsed(parseHostPort).optional().register(about, {
    value: "HOST:PORT",
    help: "where the Blob endpoint listens",
    example: "0.0.0.0:10100",
    standard: "127.0.0.1:10100",
  }),
  admin: parsed(parseHostPort).optional().register(about, {
    value: "HOST:PORT",
    help: "where health, metrics, the admin API and the console listen",
    example: "127.0.0.1:10190",
    standard: "127.0.0.1:10190",
  }),
  flash: text().optional().register(about, {
    value: "DIR",
    help: "the folder on flash that holds the cache",
    example: "/mnt/nvme/forebay",
    standard: ".forebay/flash",
  }),
  flashSize: parsed(parseFlashSize).optional().register(about, {
    value: "SIZE",
    help: "how much of the flash may be used: a size, or a share of the room that others leave on its file system",
    example: "50GiB",
    standard: "80%",
  }),
  servers: parsed((raw) => whole(raw, 1, 256))
    .optional()
    .register(about, {
      value: "N",
      help: "how many server processes share the port",
      example: "8",
      standard: "one per CPU, 16 at most",
    }),
  tlsCert: text().optional().register(about, {
    value: "FILE",
    help: "the certificate chain (PEM) for https; needs tlsKey",
    example: "/etc/forebay/tls.crt",
    standard: "plain http",
  }),
  tlsKey: text().optional().register(about, {
    value: "FILE",
    help: "the private key (PEM) of the certificate",
    example: "/etc/forebay/tls.key",
    standard: "",
  }),
  policies: z.array(policy, { error: "write a list of policies, each with a path" }).optional().register(about, {
    value: "YAML",
    help: "what holds where: the longest matching CONTAINER/PREFIX wins",
    example: "[{path: datasets/, maxStale: immutable}]",
    standard: "maxStale 5s, onLakeOutage fail, verdict blob, write through",
    structured: true,
  }),
  accessLog: text().optional().register(about, {
    value: "FILE",
    help: "write one JSON line per request to this file (- is standard error)",
    example: "/var/log/forebay/access.log",
    standard: "no access log",
  }),
  logLevel: oneOf(...LOG_LEVELS)
    .optional()
    .register(about, {
      value: "LEVEL",
      help: `the least important lines to log: ${LOG_LEVELS.join(", ")}`,
      example: "debug",
      standard: "info",
    }),
  maxConnections: parsed((raw) => whole(raw, 1, limits.connectionsMax))
    .optional()
    .register(about, {
      value: "N",
      help: "client connections per server process; more wait in the kernel's queue",
      example: "1024",
      standard: String(limits.connectionsMax),
    }),
  stopDeadline: parsed(parseDurationMs)
    .optional()
    .register(about, {
      value: "DURATION",
      help: "how long requests under way may take to finish after SIGTERM",
      example: "30s",
      standard: `${limits.gracefulStopMs / 1000}s`,
    }),
  drainRate: parsed(parseRate).optional().register(about, {
    value: "SIZE",
    help: "how many bytes per second `write: back` may carry to the lake, all paths together",
    example: "500MiB/s",
    standard: "no bound",
  }),
  drainDeadline: parsed(parseDurationMs)
    .optional()
    .register(about, {
      value: "DURATION",
      help: "how long, after SIGTERM, acknowledged writes go on being carried to the lake; the rest waits for the next start",
      example: "2m",
      standard: `${limits.drainStopMs / 1000}s`,
    }),
  pendingNames: yesOrNo().optional().register(about, {
    value: "true|false",
    help: "whether a list of what the lake does not have yet is kept in its container forebay-pending, should this machine be lost",
    example: "false",
    standard: "true",
  }),
});

/** The settings as validated, before defaults. */
export type FileSettings = z.output<typeof fileSchema>;

/** One setting with all its names. */
export interface Setting extends SettingAbout {
  readonly name: keyof FileSettings | "config";
  /** With its dashes: `--flash-size`. */
  readonly flag: string;
  /** `FOREBAY_FLASH_SIZE`. */
  readonly env: string;
}

function withNames(name: Setting["name"], facts: SettingAbout): Setting {
  const words = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  return { name, flag: `--${words}`, env: `FOREBAY_${words.replaceAll("-", "_").toUpperCase()}`, ...facts };
}

const CONFIG: SettingAbout = {
  value: "FILE",
  help: "the configuration file (YAML)",
  example: "forebay.yaml",
  standard: "no file",
};

/** All settings, `config` (which only flags and environment have) first. */
export const settings: readonly Setting[] = [
  withNames("config", CONFIG),
  ...Object.entries(fileSchema.shape).map(([name, schema]) => {
    const facts = about.get(schema);
    if (facts === undefined) throw new Error(`setting ${name} says nothing of itself`);
    return withNames(name as keyof FileSettings, facts);
  }),
];
