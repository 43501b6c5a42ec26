/**
 * Files in place of blobs. Most training code opens paths; the mount gives it paths, and gets out of the way: where a
 * blob's bytes lie whole in one cache file, the kernel reads that file itself (FUSE passthrough) and no byte passes
 * through here. What is not there yet comes through this process, from the lake.
 *
 * Two threads: `front` speaks the FUSE protocol, owns the inodes and answers what it knows without asking anybody;
 * `back` stands on the process's event loop, asks a {@link FileSource} (the engine, or a test) and answers the rest.
 *
 * One inode of the kernel is one version of one blob, read in one way, for all its life. What changes gets a new inode
 * (with the same number): so an open file keeps its version, the page cache never mixes two, and no mapping of a file
 * ever sees a way of reading that it did not begin with.
 */
import type { Pinned } from "../io/syscalls.ts";

/** Counters that a change of the file moves: their sum when the question was sent. */
export interface Stamp {
  readonly slot: number;
  readonly sum: number;
}

/** What is known of a file, as of now. */
export interface FoundFile {
  readonly kind: "file";
  readonly sizeBytes: number;
  /** Without quotes. Another ETag is another version. */
  readonly etag: string;
  /** Milliseconds since 1970. */
  readonly mtimeMs: number;
  /** Monotonic milliseconds until when nobody need ask again; Infinity: until the stamp moves. */
  readonly freshUntilMs: number;
  readonly stamp: Stamp;
}

export interface FoundFolder {
  readonly kind: "folder";
  readonly freshUntilMs: number;
}

export type Found = FoundFile | FoundFolder;

/** What the caller believes the path to be: asked about first. */
export type Guess = Found["kind"] | null;

/** One name of a folder. */
export type Listed = { readonly name: string } & Found;

/** A page of a folder's names, in no particular order between pages. `next`: null at the end. */
export interface ListedPage {
  readonly entries: readonly Listed[];
  readonly next: string | null;
}

/** A file of the cache that holds all the bytes of a version and no others: see `filePath` in `flash/files.ts`. */
export interface Backing {
  readonly fileId: number;
  /** For the replacement policy: see `visit` of the generations. */
  readonly versionId: number;
}

/** A version whose bytes come through this process. */
export interface RemoteFile {
  /**
   * Puts bytes [offset, offset + length) into `into` from `at` on: how many, fewer only at the end of the file. Rejects
   * with `lake-changed` when the version is no more, and what the lake's troubles are called.
   */
  read(offset: number, length: number, into: Pinned, at: number, signal: AbortSignal): Promise<number>;
  close(): void;
}

/** An opened version: whole in one file of the cache, or to be read piece by piece. */
export type Opened = FoundFile &
  ({ readonly backing: Backing; readonly remote: null } | { readonly backing: null; readonly remote: RemoteFile });

/** Name and value of an extended attribute. */
export type Attribute = readonly [name: string, value: string];

/**
 * What a mount shows. Paths are relative to its root, without a leading `/`; `""` is the root. Calls reject with a
 * {@link ForebayError}; null: there is no such thing.
 */
export interface FileSource {
  lookUp(path: string, guess: Guess, signal: AbortSignal): Promise<Found | null>;
  /** A page of the folder: the first one, or the one that an earlier page called `next`. */
  list(path: string, from: string | null, signal: AbortSignal): Promise<ListedPage>;
  /** Opens the newest version. `piecewise`: its cache file, if it has one, was found to be no use. */
  open(path: string, piecewise: boolean, signal: AbortSignal): Promise<Opened | null>;
  attributes(path: string, signal: AbortSignal): Promise<readonly Attribute[] | null>;
  /** Where the counters are that stamps speak of. */
  readonly counters: CountersPlace;
  /** The absolute path of the folder that cache files lie in. */
  readonly filesRoot: string;
}

/** Plain data: it goes to the other thread. */
export type CountersPlace =
  | { readonly kind: "none" }
  /** For tests: an Int32Array of its own. */
  | { readonly kind: "array"; readonly memory: SharedArrayBuffer }
  /** Those of the engine, for one container. */
  | {
      readonly kind: "generations";
      readonly path: string;
      readonly epoch: string;
      readonly account: string;
      readonly container: string;
    };

/** How a mount shows itself. */
export interface MountOptions {
  /** Absolute path of the folder to mount on. */
  readonly folder: string;
  /** What `/proc/mounts` says is mounted. */
  readonly label: string;
  /** Whether other users than the one who mounts may look inside. */
  readonly allowOther: boolean;
  readonly uid: number;
  readonly gid: number;
  /** Bits that no mode has. */
  readonly umask: number;
  /** False: never lets the kernel read cache files itself. */
  readonly passthrough: boolean;
}

/** How the kernel reads complete files: by itself, or through this process into its page cache. */
export type ReadingMode = "passthrough" | "copying";

export type MountLog = (level: "info" | "warn" | "error", message: string, fields?: Record<string, unknown>) => void;
