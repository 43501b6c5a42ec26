/**
 * What Forebay called versions that the lake has by now under names of its own: one alias for a blob, of the version
 * carried last, for 7 days. An earlier one names a version that is gone, here as in the lake.
 *
 * In memory, with an append-only file beside it for the next start. That file is a convenience: without it, or where it
 * is hurt, a condition that names an old ETag of Forebay's fails as if the blob had been written since. So nothing waits
 * for it, and it is not flushed.
 *
 * The file is `aliases.0` or `aliases.1`: a line for each alias, `CHECKSUM JSON`. When most of its lines are out of date
 * the other one is written anew.
 */
import { asForebayError, hasCode } from "../base/errors.ts";
import { limits, MIB } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import type { Disk } from "../io/disk.ts";
import type { BlobName, Entry } from "../journal/types.ts";
import type { EtagAlias } from "./types.ts";

export interface Aliases {
  /** An entry left the journal. To be told before anybody can hear that it is not pending any more. */
  ended(entry: Entry): void;
  of(name: BlobName): EtagAlias | null;
  readonly size: number;
  /** Ends when what was noted is written. */
  stop(): Promise<void>;
}

interface AliasOptions {
  readonly disk: Disk;
  readonly clock: Clock;
  readonly log: (level: "warn", message: string, fields: Record<string, string>) => void;
}

const FILES = ["aliases.0", "aliases.1"] as const;
/** Lines that are out of date are let be up to here. */
const SLACK_BYTES = 1 * MIB;

interface Kept extends EtagAlias {
  readonly name: BlobName;
  readonly atMs: number;
  /** Of its line in the file. */
  readonly lineBytes: number;
}

/** Reads what an earlier life left. Never rejects: without its file all that is lost is old conditions. */
export async function openAliases(options: AliasOptions): Promise<Aliases> {
  const { clock } = options;
  const kept = createKept();
  for (const alias of await readAll(options)) kept.set(alias);
  const file = createAliasFile(options, kept);
  const isOver = ({ atMs }: Kept): boolean => clock.wallMs() - atMs >= limits.aliasTtlMs;
  return {
    ended: (entry) => {
      const { state, name } = entry;
      if (state.name !== "settled") return;
      kept.delete(name);
      if (entry.kind === "delete" || state.lakeEtag === null) return;
      const { etag, lastModifiedMs } = entry.put;
      const line = lineOf({ name, etag, lastModifiedMs, lakeEtag: state.lakeEtag, atMs: clock.wallMs() });
      if (line === null) return;
      kept.set(line.alias);
      while (kept.oldest !== null && isOver(kept.oldest)) kept.delete(kept.oldest.name);
      file.append(line.text);
    },
    of: (name) => {
      const alias = kept.get(name);
      return alias === undefined || isOver(alias)
        ? null
        : { etag: alias.etag, lastModifiedMs: alias.lastModifiedMs, lakeEtag: alias.lakeEtag };
    },
    get size() {
      return kept.size;
    },
    stop: file.stop,
  };
}

interface KeptAliases {
  get(name: BlobName): Kept | undefined;
  /** The last one set is the newest: the oldest ones make room. */
  set(alias: Kept): void;
  delete(name: BlobName): void;
  values(): Iterable<Kept>;
  readonly oldest: Kept | null;
  readonly size: number;
  readonly bytes: number;
}

function createKept(): KeptAliases {
  const byName = new Map<string, Kept>();
  let bytes = 0;
  const keyOf = ({ account, container, blob }: BlobName): string => `${account}/${container}/${blob}`;
  const remove = (key: string): void => {
    bytes -= byName.get(key)?.lineBytes ?? 0;
    byName.delete(key);
  };
  return {
    get: (name) => byName.get(keyOf(name)),
    set: (alias) => {
      const key = keyOf(alias.name);
      remove(key);
      byName.set(key, alias);
      bytes += alias.lineBytes;
      for (const [oldest] of byName) {
        if (byName.size <= limits.aliasesMax && bytes <= limits.aliasFileBytesMax / 2) break;
        remove(oldest);
      }
    },
    delete: (name) => remove(keyOf(name)),
    values: () => byName.values(),
    get oldest() {
      for (const alias of byName.values()) return alias;
      return null;
    },
    get size() {
      return byName.size;
    },
    get bytes() {
      return bytes;
    },
  };
}

type Unwritten = Omit<Kept, "lineBytes">;

const encoder = new TextEncoder();

/** The line of an alias. Null for a name that is no proper text, which JSON would change. */
function lineOf(alias: Unwritten): { readonly alias: Kept; readonly text: string } | null {
  const { name, etag, lastModifiedMs, lakeEtag, atMs } = alias;
  if (!name.blob.isWellFormed()) return null;
  const json = JSON.stringify([name.account, name.container, name.blob, etag, lastModifiedMs, lakeEtag, atMs]);
  const text = `${checksum(json)} ${json}\n`;
  return { alias: { ...alias, lineBytes: Buffer.byteLength(text) }, text };
}

function checksum(text: string): string {
  return Number(Bun.hash.xxHash32(text)).toString(16).padStart(8, "0");
}

/** The alias that a line names; null for one that is hurt. */
function readLine(line: string): Kept | null {
  const json = line.slice(9);
  if (line[8] !== " " || line.slice(0, 8) !== checksum(json)) return null;
  const [account, container, blob, etag, lastModifiedMs, lakeEtag, atMs] = JSON.parse(json) as unknown[];
  if (typeof account !== "string" || typeof container !== "string" || typeof blob !== "string") return null;
  if (typeof etag !== "string" || typeof lakeEtag !== "string") return null;
  if (typeof lastModifiedMs !== "number" || typeof atMs !== "number") return null;
  const name = { account, container, blob };
  return { name, etag, lastModifiedMs, lakeEtag, atMs, lineBytes: Buffer.byteLength(line) + 1 };
}

/** Everything that the files say, the oldest first. */
async function readAll({ disk, clock, log }: AliasOptions): Promise<Kept[]> {
  const found: Kept[] = [];
  for (const path of FILES) {
    try {
      for (const line of (await readText(disk, path)).split("\n")) {
        const alias = readLine(line);
        if (alias !== null && clock.wallMs() - alias.atMs < limits.aliasTtlMs) found.push(alias);
      }
    } catch (error) {
      if (!hasCode(error, "gone"))
        log("warn", "ETags given earlier could not be read", { path, reason: reasonOf(error) });
    }
  }
  return found.sort((a, b) => a.atMs - b.atMs);
}

const reasonOf = (error: unknown): string => asForebayError(error).message;

async function readText(disk: Disk, path: string): Promise<string> {
  const size = Math.min(disk.sizeOf(path) ?? 0, limits.aliasFileBytesMax);
  if (size === 0) return "";
  const fd = disk.open(path, "read");
  try {
    const bytes = new Uint8Array(size);
    let at = 0;
    for (let got = -1; got !== 0 && at < size; at += got) got = await disk.read(fd, bytes.subarray(at), at);
    return Buffer.from(bytes.buffer, 0, at).toString("utf8");
  } finally {
    disk.close(fd);
  }
}

interface AliasFile {
  append(line: string): void;
  stop(): Promise<void>;
}

/** Writes what was noted, one write after the other. After a failure it begins anew with the next alias. */
function createAliasFile({ disk, clock, log }: AliasOptions, kept: KeptAliases): AliasFile {
  let waiting: string[] = [];
  let writing: Promise<void> | null = null;
  let [fd, size, which] = [-1, 0, 0];
  let failedAtMs = Number.NEGATIVE_INFINITY;

  const write = async (text: string): Promise<void> => {
    const bytes = encoder.encode(text);
    await disk.write(fd, bytes, size);
    size += bytes.length;
  };
  const close = (): void => {
    if (fd >= 0) disk.close(fd);
    fd = -1;
  };
  /** Everything kept, in the other file. The old one goes when that is written. */
  const begin = async (): Promise<void> => {
    close();
    const old = FILES[which] ?? FILES[0];
    which = 1 - which;
    const path = FILES[which] ?? FILES[1];
    if (disk.sizeOf(path) !== null) disk.unlink(path);
    [fd, size] = [disk.open(path, "create"), 0];
    await write([...kept.values()].map((alias) => lineOf(alias)?.text ?? "").join(""));
    if (disk.sizeOf(old) !== null) disk.unlink(old);
  };
  const work = async (): Promise<void> => {
    while (waiting.length > 0) {
      const lines = waiting;
      waiting = [];
      // What is not written now is when the file is begun anew.
      if (fd < 0 && clock.monotonicMs() - failedAtMs < limits.probeIntervalMs) continue;
      try {
        // What is begun anew has these lines already.
        if (fd < 0 || size > 2 * kept.bytes + SLACK_BYTES) await begin();
        else await write(lines.join(""));
      } catch (error) {
        close();
        failedAtMs = clock.monotonicMs();
        log("warn", "ETags given could not be noted for the next start", { reason: reasonOf(error) });
      }
    }
  };
  const start = (): void => {
    writing ??= work().finally(() => {
      writing = null;
      if (waiting.length > 0) start();
    });
  };
  return {
    append: (line) => {
      waiting.push(line);
      start();
    },
    stop: async () => {
      while (writing !== null) await writing;
      close();
    },
  };
}
