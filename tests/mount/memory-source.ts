/** A source of files that a test holds in its hands: versions, what is whole in a cache file, delays and failures. */
import { mkdirSync, unlinkSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { ForebayError } from "../../src/base/errors.ts";
import { filePath } from "../../src/flash/files.ts";
import { realClock } from "../../src/io/clock.ts";
import type { Backing, FileSource, Found, FoundFile, Listed, RemoteFile, Stamp } from "../../src/mount/types.ts";

const SLOTS = 1024;

interface Version {
  readonly bytes: Uint8Array;
  readonly etag: string;
  readonly mtimeMs: number;
  backing: Backing | null;
}

export interface MemorySource extends FileSource {
  /** Puts a version in place; `complete`: also as a cache file. */
  put(path: string, bytes: Uint8Array, complete: boolean): void;
  /** The version there is becomes whole on flash. */
  complete(path: string): void;
  /** Its cache file is unlinked; the id of it. */
  evict(path: string): number;
  remove(path: string): void;
  /** How long what is said may be believed. */
  freshMs: number;
  /** Before each call: may wait, or throw. */
  before: (what: string, path: string, signal: AbortSignal) => Promise<void>;
  /** Whether what was opened can be read even when another version has taken its place. */
  keepsVersions: boolean;
  readonly calls: { lookUp: number; list: number; open: number; read: number; attributes: number };
  readonly remotesOpen: number;
  pageMax: number;
}

export function createMemorySource(filesRoot: string): MemorySource {
  const versions = new Map<string, Version>();
  const memory = new SharedArrayBuffer(SLOTS * 4);
  const counters = new Int32Array(memory);
  const calls = { lookUp: 0, list: 0, open: 0, read: 0, attributes: 0 };
  let nextId = 1;
  let remotesOpen = 0;

  const slotOf = (path: string): number => Number(Bun.hash.xxHash32(path)) % SLOTS;
  const stampOf = (path: string): Stamp => {
    const slot = slotOf(path);
    return { slot, sum: Atomics.load(counters, slot) >>> 0 };
  };
  const moved = (path: string): void => void Atomics.add(counters, slotOf(path), 1);
  const fileOf = (version: Version, stamp: Stamp): FoundFile => ({
    kind: "file",
    sizeBytes: version.bytes.length,
    etag: version.etag,
    mtimeMs: version.mtimeMs,
    freshUntilMs: realClock.monotonicMs() + source.freshMs,
    stamp,
  });
  const isFolder = (path: string): boolean =>
    path === "" || [...versions.keys()].some((name) => name.startsWith(`${path}/`));
  const store = (version: Version): void => {
    if (version.bytes.length === 0) return;
    const fileId = nextId++;
    const path = join(filesRoot, filePath(fileId));
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, version.bytes);
    version.backing = { fileId, versionId: fileId };
  };
  const versionAt = (path: string): Version => {
    const version = versions.get(path);
    if (version === undefined) throw new Error(`no file ${path}`);
    return version;
  };
  const remoteOf = (path: string, version: Version): RemoteFile => {
    remotesOpen++;
    return {
      read: async (offset, length, into, at, signal) => {
        calls.read++;
        await source.before("read", path, signal);
        if (!source.keepsVersions && versions.get(path) !== version)
          throw new ForebayError("lake-changed", "the version is no more");
        const piece = version.bytes.subarray(offset, offset + length);
        into.bytes.set(piece, at);
        return piece.length;
      },
      close: () => {
        remotesOpen--;
      },
    };
  };
  const source: MemorySource = {
    freshMs: 0,
    pageMax: 1_000,
    keepsVersions: false,
    before: async () => {},
    calls,
    get remotesOpen() {
      return remotesOpen;
    },
    counters: { kind: "array", memory },
    filesRoot,
    put: (path, bytes, complete) => {
      const version: Version = {
        bytes,
        etag: `0x${(nextId++).toString(16)}`,
        mtimeMs: 1_700_000_000_000,
        backing: null,
      };
      if (complete) store(version);
      versions.set(path, version);
      moved(path);
    },
    complete: (path) => store(versionAt(path)),
    evict: (path) => {
      const version = versionAt(path);
      const { backing } = version;
      if (backing === null) throw new Error(`${path} is not on flash`);
      version.backing = null;
      unlinkSync(join(filesRoot, filePath(backing.fileId)));
      return backing.fileId;
    },
    remove: (path) => {
      versions.delete(path);
      moved(path);
    },
    lookUp: async (path, _guess, signal): Promise<Found | null> => {
      calls.lookUp++;
      const stamp = stampOf(path);
      await source.before("lookUp", path, signal);
      const version = versions.get(path);
      if (version !== undefined) return fileOf(version, stamp);
      return isFolder(path) ? { kind: "folder", freshUntilMs: realClock.monotonicMs() + source.freshMs } : null;
    },
    list: async (path, from, signal) => {
      calls.list++;
      await source.before("list", path, signal);
      const prefix = path === "" ? "" : `${path}/`;
      const entries = new Map<string, Listed>();
      for (const [name, version] of versions) {
        if (!name.startsWith(prefix)) continue;
        const rest = name.slice(prefix.length);
        const slash = rest.indexOf("/");
        const short = slash < 0 ? rest : rest.slice(0, slash);
        const folder: Found = { kind: "folder", freshUntilMs: realClock.monotonicMs() + source.freshMs };
        const found = slash < 0 ? fileOf(version, stampOf(name)) : folder;
        entries.set(short, { name: short, ...found });
      }
      const all = [...entries.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
      const start = Number(from ?? "0");
      const end = start + source.pageMax;
      return { entries: all.slice(start, end), next: end < all.length ? String(end) : null };
    },
    open: async (path, piecewise, signal) => {
      calls.open++;
      const stamp = stampOf(path);
      await source.before("open", path, signal);
      const version = versions.get(path);
      if (version === undefined) return null;
      const file = fileOf(version, stamp);
      if (version.backing !== null && !piecewise) return { ...file, backing: version.backing, remote: null };
      return { ...file, backing: null, remote: remoteOf(path, version) };
    },
    attributes: async (path, signal) => {
      calls.attributes++;
      await source.before("attributes", path, signal);
      const version = versions.get(path);
      if (version === undefined) return null;
      return [
        ["user.forebay.etag", version.etag],
        ["user.forebay.state", version.backing === null ? "partial" : "complete"],
      ];
    },
  };
  return source;
}
