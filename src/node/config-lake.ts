/** Which lakes the settings name, and the credential of each. */
import { asForebayError, ForebayError } from "../base/errors.ts";
import { type LakeAddressOptions, parseLakeAddress } from "../lake/address.ts";
import type { FileSettings, NamedLake } from "./config-schema.ts";

/** One account of the lake as configured. Carries secrets: show it only through {@link redactLake}. */
export interface LakeConfig {
  /** Its name under `lakes`, or its account when it came by `lake`. */
  readonly name: string;
  readonly account: string;
  /** A connection string, or a URL with or without a SAS, as given. */
  readonly connection: string;
  /** `HOST` or `HOST:PORT` to connect to instead of what DNS says for the lake's name. */
  readonly connectTo: string | null;
  /** Further account keys (base64) that callers' signatures may be made with. */
  readonly moreKeys: readonly string[];
}

/** What reading the lakes needs of the outside. */
export interface LakeSources {
  /** The source of a setting, for messages: a flag, an environment variable, or a place in the file. */
  where(name: string): string;
  readFile(path: string): string;
}

/** The lakes to serve: `lake` (a name or the lake itself), else `lakeFile`, else all of `lakes`. Throws `config`. */
export function lakesOf(from: FileSettings, sources: LakeSources): LakeConfig[] {
  const named = from.lakes ?? {};
  const byName = (name: string): LakeConfig | null => {
    const lake = Object.hasOwn(named, name) ? named[name] : undefined;
    return lake === undefined ? null : namedLakeOf(name, lake, `${sources.where("lakes")}.${name}`, sources);
  };
  if (from.lake !== undefined) {
    const lake = byName(from.lake);
    if (lake !== null) return [lake];
    const where = sources.where("lake");
    if (/^[\w.-]{1,63}$/.test(from.lake)) throw noSuchName(from.lake, Object.keys(named), where);
    return [plainLake(from.lake, where)];
  }
  if (from.lakeFile !== undefined) {
    const where = sources.where("lakeFile");
    return [plainLake(secretFrom(from.lakeFile, where, sources), where)];
  }
  const lakes = Object.keys(named).flatMap((name) => byName(name) ?? []);
  if (lakes.length === 0) {
    throw new ForebayError(
      "config",
      "lake: is not set; write --lake with a connection string or https://ACCOUNT.blob.core.windows.net, or set FOREBAY_LAKE",
    );
  }
  for (const [index, lake] of lakes.entries()) {
    const twin = lakes.slice(0, index).find((other) => other.account === lake.account);
    if (twin === undefined) continue;
    const both = `account "${lake.account}" is also that of ${twin.name}; keep one of them`;
    throw new ForebayError("config", `${sources.where("lakes")}.${lake.name}: ${both}`);
  }
  return lakes;
}

function noSuchName(name: string, known: readonly string[], where: string): ForebayError {
  const names = known.length === 0 ? "" : `, or one of the names under lakes (${known.join(", ")})`;
  return new ForebayError(
    "config",
    `${where}: "${name}" is no lake; write a connection string, or https://ACCOUNT.blob.core.windows.net${names}`,
  );
}

function plainLake(connection: string, where: string): LakeConfig {
  return checkedLake(null, { connection, connectTo: null, moreKeys: [] }, where);
}

function namedLakeOf(name: string, lake: NamedLake, where: string, sources: LakeSources): LakeConfig {
  const ways = [lake.connectionString, lake.connectionStringFile, lake.url].filter((way) => way !== undefined);
  if (ways.length !== 1) {
    const problem = "write exactly one of connectionString, connectionStringFile and url";
    throw new ForebayError("config", `${where}: ${problem}`);
  }
  const connection =
    lake.connectionStringFile === undefined
      ? (lake.connectionString ?? lake.url ?? "")
      : secretFrom(lake.connectionStringFile, `${where}.connectionStringFile`, sources);
  const more =
    lake.extraKeysFile === undefined
      ? []
      : secretFrom(lake.extraKeysFile, `${where}.extraKeysFile`, sources).split(/\s+/);
  const moreKeys = [...(lake.extraKeys ?? []), ...more];
  return checkedLake(name, { connection, connectTo: lake.address ?? null, moreKeys }, where);
}

/** The trimmed text of a file that holds a secret. */
function secretFrom(path: string, where: string, sources: LakeSources): string {
  let text: string;
  try {
    text = sources.readFile(path).trim();
  } catch (error) {
    const code = (error as NodeJS.ErrnoException | null)?.code ?? "unreadable";
    const reason = code === "ENOENT" ? "no such file" : code;
    throw new ForebayError("config", `${where}: cannot read ${path} (${reason}); write the path of a file`);
  }
  if (text === "") throw new ForebayError("config", `${where}: ${path} is empty; put the secret into it`);
  return text;
}

/** A lake as `parseLakeAddress` judges it; its complaint gets the setting's name in front. */
function checkedLake(name: string | null, lake: Omit<LakeConfig, "name" | "account">, where: string): LakeConfig {
  try {
    const { account } = parseLakeAddress(lake.connection, lakeOptions(lake));
    return { name: name ?? account, account, ...lake };
  } catch (error) {
    const complaint = asForebayError(error);
    throw new ForebayError(complaint.code, `${where}: ${complaint.message.replace(/^lake address /, "")}`);
  }
}

/** What goes into `parseLakeAddress` beside the connection. */
export function lakeOptions(lake: Pick<LakeConfig, "connectTo" | "moreKeys">): LakeAddressOptions {
  return { moreKeys: lake.moreKeys, ...(lake.connectTo === null ? {} : { connectTo: lake.connectTo }) };
}

/** A lake with its secrets replaced by `***`. */
export function redactLake(lake: LakeConfig): LakeConfig {
  return {
    ...lake,
    connection: redactConnection(lake.connection),
    moreKeys: lake.moreKeys.map(() => "***"),
  };
}

function redactConnection(connection: string): string {
  return connection.replace(/(AccountKey=)[^;]*/gi, "$1***").replace(/((?:^|[?&=;])sig=)[^&;]*/gi, "$1***");
}
