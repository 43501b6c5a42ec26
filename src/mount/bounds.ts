/** Every bound of a mount, with the relations between them asserted at load. */
import { assert } from "../base/assert.ts";
import { KIB, limits, MIB } from "../base/limits.ts";

export const mountBounds = {
  /** One read of the kernel: 256 pages, its own default bound. */
  readBytesMax: 1 * MIB,
  /** What the kernel may send at once: it sends no data to a mount that only reads. */
  requestBytesMax: 136 * KIB,
  writeBytesMax: 128 * KIB,
  backgroundRequestsMax: 64, // reads that the kernel has under way before it holds more back
  readBuffersMax: 24, // of readBytesMax each, for reads that are answered away from the FUSE thread
  /** Calls that wait for the cache or the lake. More are answered EAGAIN. */
  callsMax: 8_192,
  /** A look-up, list or open that takes longer fails with ETIMEDOUT, a read likewise. */
  callTimeoutMs: 60_000,
  readTimeoutMs: 90_000,
  /** After so long without any answer the kernel itself ends the mount: the last resort against a hung process. */
  kernelTimeoutSeconds: 300,
  nameBytesMax: 255, // NAME_MAX: a longer name cannot be opened by programs that keep to it
  pathBytesMax: 4_096, // PATH_MAX; a blob's name has at most 1,024 characters
  folderTtlMs: 5_000, // how long a folder is believed to be there
  steadyFolderTtlMs: 60_000, // the same below an `immutable` path
  steadyTtlMs: 3_600_000, // how long the kernel may keep names of `immutable` paths: changes are told to it
  listPageMax: 5_000, // names of one page of a folder: the lake's own bound
  listPageBytesMax: 32 * MIB,
  pendingNamesMax: 50_000, // right below one folder, that a list is merged with
  listPagesRememberedMax: 65_536, // of one open folder: where its pages begin
  idleBackingsMax: 4_096, // cache files that the kernel keeps open for a next open
  openHandlesMax: 1_048_576,
  /** How often, and how many at a time, names that the kernel keeps are compared with the counters of changes. */
  sweepMs: 250,
  sweepNodesMax: 262_144,
  noticesMax: 256, // invalidations on their way to the kernel
  spinMicroseconds: 50, // how long the FUSE thread looks for the next request before it sleeps
  stopMs: 5_000, // how long a stop waits for the FUSE thread
  mountMs: 10_000, // how long fusermount3 and the first word of the kernel may take
} as const;

assert(mountBounds.writeBytesMax + 4 * KIB <= mountBounds.requestBytesMax, "a request fits its buffer");
assert(mountBounds.readTimeoutMs < mountBounds.kernelTimeoutSeconds * 1_000, "a call fails before the mount does");
assert(mountBounds.callTimeoutMs < mountBounds.kernelTimeoutSeconds * 1_000, "a call fails before the mount does");
assert(mountBounds.stopMs <= limits.gracefulStopMs, "a mount stops within a graceful stop");
