/**
 * What the tests of whole processes share: Forebay started as its users start it, on a folder that outlives it; its
 * process tree; reads that are checked byte by byte; and waiting that is bounded.
 */
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { stringify } from "yaml";
import type { Content } from "../../sim/lake/content.ts";
import { SIM_ACCOUNT, SIM_KEY } from "../../sim/lake/service.ts";
import { FOREBAY_MAIN } from "../support/forebay.ts";
import { type Child, startChild } from "../support/process.ts";
import { accountSas } from "../support/sign.ts";
import { tempFolder } from "../support/temp.ts";

const ROOT = join(import.meta.dir, "../..");
const START_MS = 30_000;

/** How a Forebay is started. Everything else is as its defaults have it. */
export interface UpOptions {
  /** The settings of the config file; `lake` or `lakes` among them. */
  readonly config: Readonly<Record<string, unknown>>;
  /** Holds the config file, the flash folder and logs; it is the caller's to remove. */
  readonly folder: string;
  /** Default: `FOLDER/flash`. */
  readonly flash?: string;
  readonly flashSize?: string;
  readonly servers?: number;
  /** 0: any. */
  readonly port?: number;
  readonly adminPort?: number;
  readonly extra?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A Forebay that runs. */
export interface Up {
  readonly child: Child;
  readonly pid: number;
  /** `http[s]://127.0.0.1:PORT/ACCOUNT`. */
  readonly blobUrl: string;
  readonly port: number;
  readonly adminUrl: string;
  readonly adminPort: number;
  readonly flash: string;
  /** Rewrites the config file and sends SIGHUP. */
  reconfigure(config: Readonly<Record<string, unknown>>): void;
  logs(): string;
  /** SIGTERM; resolves with the exit status. */
  stop(graceMs?: number): Promise<number>;
}

/** The command line of `forebay up` with `options`; writes the config file. */
export function upCommand(options: UpOptions): readonly string[] {
  const file = join(options.folder, "forebay.yaml");
  writeFileSync(file, stringify(options.config));
  return [
    process.execPath,
    FOREBAY_MAIN,
    ...["up", "--config", file, "--flash", options.flash ?? join(options.folder, "flash")],
    ...["--listen", `127.0.0.1:${options.port ?? 0}`, "--admin", `127.0.0.1:${options.adminPort ?? 0}`],
    ...["--flash-size", options.flashSize ?? "256MiB", "--servers", String(options.servers ?? 1)],
    ...(options.extra ?? []),
  ];
}

/** Starts a Forebay and resolves when it printed its ready line. */
export async function up(options: UpOptions): Promise<Up> {
  const child = startChild({ name: "forebay up", command: upCommand(options), cwd: ROOT, env: { ...options.env } });
  try {
    const match = await child.line(/^forebay ready blob=(\S+) admin=(\S+)$/, START_MS);
    const [blobUrl, adminUrl] = [match[1] ?? "", match[2] ?? ""];
    return {
      child,
      pid: child.pid,
      blobUrl,
      adminUrl,
      port: Number(new URL(blobUrl).port),
      adminPort: Number(new URL(adminUrl).port),
      flash: options.flash ?? join(options.folder, "flash"),
      reconfigure: (config) => {
        writeFileSync(join(options.folder, "forebay.yaml"), stringify(config));
        child.kill("SIGHUP");
      },
      logs: child.stderr,
      stop: (graceMs = 25_000) => child.stop(graceMs),
    };
  } catch (error) {
    await child.stop(1_000);
    throw error;
  }
}

/** Things to undo when a test is done, the last first. */
export function cleanup(): { add(undo: () => unknown): void; folder(name: string): string; run(): Promise<void> } {
  const undos: (() => unknown)[] = [];
  return {
    add: (undo) => void undos.push(undo),
    folder: (name) => {
      const made = tempFolder(name);
      undos.push(made.remove);
      return made.path;
    },
    run: async () => {
      for (const undo of undos.splice(0).reverse()) await undo();
    },
  };
}

/** Polls until `look` gives something other than undefined, null or false. Throws with `what` after `timeoutMs`. */
export async function until<T>(
  what: string,
  timeoutMs: number,
  look: () => T | Promise<T>,
): Promise<Exclude<T, undefined | null | false>> {
  const deadline = performance.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const found = await look();
      if (found !== undefined && found !== null && found !== false)
        return found as Exclude<T, undefined | null | false>;
    } catch (error) {
      last = error;
    }
    if (performance.now() > deadline) {
      throw new Error(`${what}: not within ${timeoutMs} ms${last === undefined ? "" : ` (${String(last)})`}`);
    }
    await Bun.sleep(20);
  }
}

/** A process below another one. */
export interface Process {
  readonly pid: number;
  readonly role: "keeper" | "server" | "other";
}

/** The children of `pid` that are no zombies. */
export function childrenOf(pid: number): Process[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .flatMap((name) => {
      const stat = statOf(Number(name));
      if (stat === null || stat.parent !== pid || stat.state === "Z") return [];
      const command = readProc(Number(name), "cmdline");
      const role = command.includes("keeper-process")
        ? "keeper"
        : command.includes("server-process")
          ? "server"
          : "other";
      return [{ pid: Number(name), role }];
    });
}

/** Whether a process is there and no zombie. */
export function isAlive(pid: number): boolean {
  const stat = statOf(pid);
  return stat !== null && stat.state !== "Z";
}

function statOf(pid: number): { state: string; parent: number } | null {
  const text = readProc(pid, "stat");
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return text === "" ? null : { state: fields[0] ?? "", parent: Number(fields[1]) };
}

/** The text of `/proc/PID/NAME`, empty when the process is gone. */
export function readProc(pid: number, name: string): string {
  try {
    return readFileSync(`/proc/${pid}/${name}`, "latin1");
  } catch {
    return "";
  }
}

// One pool of random bytes: content of any size and seed is a walk through it, so that huge blobs cost nothing to make
// or to check, and two seeds differ nearly everywhere.
const POOL_BYTES = 1_048_573; // a prime: no block boundary ever meets the same place again soon
const PIECE_BYTES = 1 << 20;
const pool = new Uint8Array(POOL_BYTES + PIECE_BYTES);
for (let i = 0, z = 0x9e3779b9; i < POOL_BYTES; i++) {
  z = Math.imul(z ^ (z >>> 15), 0x2c1b3c6d) + i;
  pool[i] = (z ^ (z >>> 13)) >>> 7;
}
pool.copyWithin(POOL_BYTES, 0, PIECE_BYTES);

/** Up to {@link PIECE_BYTES} bytes of the content of `seed`, from `offset`; not a copy. */
function patternPiece(seed: number, offset: number, length: number): Uint8Array {
  const at = (seed * 7919 + offset) % POOL_BYTES;
  return pool.subarray(at, at + Math.min(length, PIECE_BYTES));
}

/** Content of any size, determined by `seed`. */
export function pattern(seed: number, sizeBytes: number): Content {
  return {
    sizeBytes,
    read: (offset, length) => {
      if (length <= PIECE_BYTES) return patternPiece(seed, offset, length);
      const bytes = new Uint8Array(length);
      for (let at = 0; at < length; at += PIECE_BYTES) bytes.set(patternPiece(seed, offset + at, length - at), at);
      return bytes;
    },
  };
}

/** Where `bytes` first differs from the content of `seed` at `offset`, or -1. */
export function firstDifference(seed: number, offset: number, bytes: Uint8Array): number {
  for (let at = 0; at < bytes.length; at += PIECE_BYTES) {
    const piece = bytes.subarray(at, Math.min(bytes.length, at + PIECE_BYTES));
    const wanted = patternPiece(seed, offset + at, piece.length);
    if (Buffer.compare(piece, wanted) === 0) continue;
    return at + piece.findIndex((byte, i) => byte !== wanted[i]);
  }
  return -1;
}

/** A query that may do everything in the simulated account for a day. */
export const ALL_SAS = accountSas(SIM_ACCOUNT, SIM_KEY, {
  sv: "2022-11-02",
  ss: "b",
  srt: "sco",
  sp: "rwdlac",
  se: new Date(Date.now() + 24 * 3_600_000).toISOString().replace(/\.\d+Z$/, "Z"),
});

/** What a read brought. */
export interface Got {
  readonly status: number;
  readonly temperature: string;
  readonly etag: string;
  readonly headers: Headers;
  readonly bytes: Uint8Array;
}

/** How a blob is asked for. */
export interface Ask {
  readonly first?: number;
  readonly last?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly timeoutMs?: number;
  readonly method?: "GET" | "HEAD" | "PUT" | "DELETE";
  readonly body?: Uint8Array;
  readonly tls?: { readonly ca: string };
}

/** One request on a connection of its own, with {@link ALL_SAS}. */
export async function ask(blobUrl: string, name: string, options: Ask = {}): Promise<Got> {
  const { first, last, method = "GET", body } = options;
  const range: Record<string, string> = first === undefined ? {} : { "x-ms-range": `bytes=${first}-${last ?? ""}` };
  const put: Record<string, string> = method === "PUT" ? { "x-ms-blob-type": "BlockBlob" } : {};
  const response = await fetch(`${blobUrl}/${name}?${ALL_SAS}`, {
    method,
    headers: { "x-ms-version": "2022-11-02", ...range, ...put, ...options.headers },
    ...(body === undefined ? {} : { body: body.slice() }),
    ...(options.tls === undefined ? {} : { tls: { ca: options.tls.ca } }),
    keepalive: false,
    signal: AbortSignal.timeout(options.timeoutMs ?? 20_000),
  });
  const bytes = new Uint8Array(await response.arrayBuffer());
  const { headers, status } = response;
  return { status, headers, bytes, etag: headers.get("etag") ?? "", temperature: headers.get("x-forebay") ?? "" };
}

/** Text of an admin path, and its status. */
export async function admin(adminUrl: string, path: string): Promise<{ status: number; text: string }> {
  const response = await fetch(adminUrl + path, { keepalive: false, signal: AbortSignal.timeout(10_000) });
  return { status: response.status, text: await response.text() };
}

/** The samples of `/metrics`: `name{labels}` to value. Throws on a line that is none. */
export async function metrics(adminUrl: string): Promise<Map<string, number>> {
  const { text } = await admin(adminUrl, "/metrics");
  const samples = new Map<string, number>();
  for (const line of text.split("\n")) {
    if (line === "" || line.startsWith("#")) continue;
    const match = /^([a-zA-Z_:][\w:]*(?:\{[^}]*\})?) (\S+)$/.exec(line);
    if (match === null) throw new Error(`no sample of Prometheus: ${line}`);
    samples.set(match[1] ?? "", Number(match[2]));
  }
  return samples;
}

/** Reads a blob until it is a hit: it is then on flash. */
export async function warm(blobUrl: string, name: string, options: Ask = {}): Promise<Got> {
  return until(`${name} to be warm`, 10_000, async () => {
    const got = await ask(blobUrl, name, options);
    return got.temperature === "hit" ? got : null;
  });
}

/** Waits until nothing that was filled waits for its commit any more. */
export async function committed(adminUrl: string): Promise<void> {
  await until("blocks to be committed", 10_000, async () => {
    const samples = await metrics(adminUrl);
    return samples.get("forebay_flash_pending_blocks") === 0 && samples.get("forebay_fills_under_way") === 0;
  });
}

/** Whether this user may mount. */
export function mayMount(folder: string): boolean {
  if (!existsSync("/bin/mount") && !existsSync("/usr/bin/mount")) return false;
  const tried = Bun.spawnSync(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], { stderr: "ignore" });
  if (tried.exitCode === 0) Bun.spawnSync(["umount", folder]);
  return tried.exitCode === 0;
}
