/**
 * A disk in memory that does what real ones do at the worst moment. What was not synced may be there, be lost or be
 * torn (each 512-byte sector for itself) after a power loss, names of files included; it fills up, answers EIO, turns
 * read-only, vanishes, and flips bits. All chance comes from one seed.
 */
import { assert } from "../src/base/assert.ts";
import { ForebayError } from "../src/base/errors.ts";
import type { Random } from "../src/base/random.ts";
import type { Clock } from "../src/io/clock.ts";
import type { Disk } from "../src/io/disk.ts";
import { copyOf, createSimFile, type SimFile, type SimSync } from "./disk-file.ts";

/** What goes wrong, changed at will by a test. */
export interface DiskFaults {
  /** Bytes of the file system. */
  capacityBytes: number;
  /** How likely a read, a write or a flush answers EIO. */
  failRead: number;
  failWrite: number;
  failSync: number;
  readOnly: boolean;
  /** The folder is gone (unmounted, removed): everything answers ENOENT. */
  vanished: boolean;
}

/** How long calls take, at most; each takes a random part of it. 0: they end in the same moment. */
export interface DiskDelays {
  readonly ioMsMax: number;
  readonly syncMsMax: number;
}

export interface SimDisk extends Disk {
  readonly faults: DiskFaults;
  /** The power fails: calls under way never end well, descriptors are void, and what was not synced is up to chance. */
  powerLoss(): void;
  /** The processes end: descriptors are void, nothing written is lost. */
  killProcesses(): void;
  /** Flips one bit of a file. False: it has no such byte. */
  flipBit(path: string, offset: number, bit: number): boolean;
  /** All paths, sorted. */
  paths(): string[];
  /** The bytes of a file as they are now, or null. */
  contents(path: string): Uint8Array | null;
  readonly openDescriptors: number;
  /** Bytes allocated, those of unlinked files that are still open included. */
  readonly usedBytes: number;
}

interface Handle {
  readonly file: SimFile;
  readonly writable: boolean;
}

const eio = (what: string): ForebayError => new ForebayError("flash-failed", `${what}: EIO (simulated)`);

const folderOf = (name: string): string => name.slice(0, Math.max(0, name.lastIndexOf("/")));

/** An empty disk. */
export function createSimDisk(parts: {
  readonly random: Random;
  readonly clock: Clock;
  readonly capacityBytes: number;
  readonly delays?: DiskDelays;
}): SimDisk {
  const { random, clock } = parts;
  const delays = parts.delays ?? { ioMsMax: 0, syncMsMax: 0 };
  const faults: DiskFaults = {
    capacityBytes: parts.capacityBytes,
    failRead: 0,
    failWrite: 0,
    failSync: 0,
    readOnly: false,
    vanished: false,
  };
  let names = new Map<string, SimFile>();
  let durableNames = new Map<string, SimFile>();
  const handles = new Map<number, Handle>();
  /** Flushes begun, and the latest of them that each folder's names were made durable by. */
  let flushes = 0;
  const flushedAs = new Map<string, number>();
  let nextFd = 1_000;
  let life = 0;

  const allFiles = (): Set<SimFile> => new Set([...names.values(), ...[...handles.values()].map((h) => h.file)]);
  const usedBytes = (): number => [...allFiles()].reduce((sum, file) => sum + file.allocatedBytes, 0);
  const present = (what: string): void => {
    if (faults.vanished) throw new ForebayError("gone", `${what}: no such file (the folder vanished)`);
  };
  const writable = (what: string): void => {
    present(what);
    if (faults.readOnly) throw new ForebayError("flash-failed", `${what}: EROFS (simulated)`);
  };
  const handleOf = (fd: number): Handle => {
    const handle = handles.get(fd);
    assert(handle !== undefined, `descriptor ${fd} is open`);
    return handle;
  };
  /** Waits as long as the call takes. A call that the power or the process did not survive never returns. */
  const delay = async (msMax: number): Promise<void> => {
    const before = life;
    if (msMax > 0) await clock.sleep(random.below(msMax + 1));
    if (life !== before) await new Promise<never>(() => {});
  };
  const readAt = (fd: number, bytes: Uint8Array, offset: number): number => {
    const { file } = handleOf(fd);
    if (random.chance(faults.failRead)) throw eio("read");
    return file.read(bytes, offset);
  };
  const writeAt = (fd: number, bytes: Uint8Array, offset: number): void => {
    const { file, writable: open } = handleOf(fd);
    assert(open, "only what was opened for writing is written");
    writable("write");
    if (random.chance(faults.failWrite)) throw eio("write");
    if (usedBytes() + file.growthBytes(offset, bytes.length) > faults.capacityBytes) {
      throw new ForebayError("flash-full", "write: no space left (ENOSPC, simulated)");
    }
    file.write(bytes, offset);
  };
  /** A flush makes durable what was there when it began; whether it did is known when it ends. */
  const flush = async (what: string, files: readonly SimFile[], then: () => void): Promise<void> => {
    const syncs: SimSync[] = files.map((file) => file.beginSync());
    await delay(delays.syncMsMax);
    present(what);
    if (random.chance(faults.failSync)) {
      // The kernel marks the pages clean all the same: they are never written again.
      for (const sync of syncs) sync.fail(random);
      throw eio(what);
    }
    for (const sync of syncs) sync.succeed();
    then();
  };
  /**
   * Notes the names in a folder (or in all) as they are now; the call makes them durable. What another flush that began
   * later has made durable already is not undone.
   */
  const namesOf = (only?: string): (() => void) => {
    const started = ++flushes;
    const namesThen = [...names].filter(([name]) => only === undefined || folderOf(name) === only);
    return () => {
      const isNewer = (name: string): boolean => (flushedAs.get(folderOf(name)) ?? 0) > started;
      for (const name of [...durableNames.keys()]) {
        if ((only === undefined || folderOf(name) === only) && !isNewer(name)) durableNames.delete(name);
      }
      for (const [name, file] of namesThen) if (!isNewer(name)) durableNames.set(name, file);
      const folders = only === undefined ? new Set([...names.keys()].map(folderOf)) : [only];
      for (const folder of folders) flushedAs.set(folder, Math.max(started, flushedAs.get(folder) ?? 0));
    };
  };
  const restart = (): void => {
    life++;
    handles.clear();
  };

  return {
    root: "/simulated/flash",
    faults,
    open: (path, mode) => {
      if (mode === "read") present(`open ${path}`);
      else writable(`open ${path}`);
      let file = names.get(path);
      if (mode === "create") {
        if (file !== undefined) throw new ForebayError("flash-failed", `open ${path}: EEXIST`);
        if (!hasFolder(names, path)) throw new ForebayError("gone", `open ${path}: no such folder`);
        file = createSimFile();
        names.set(path, file);
      }
      if (file === undefined || file.isFolder) throw new ForebayError("gone", `open ${path}: no such file`);
      const fd = nextFd++;
      handles.set(fd, { file, writable: mode !== "read" });
      return fd;
    },
    close: (fd) => void handles.delete(fd),
    write: async (fd, bytes, offset) => {
      const copy = copyOf(bytes);
      handleOf(fd);
      await delay(delays.ioMsMax);
      writeAt(fd, copy, offset);
    },
    read: async (fd, bytes, offset) => {
      handleOf(fd);
      await delay(delays.ioMsMax);
      return readAt(fd, bytes, offset);
    },
    readNow: readAt,
    syncFile: (fd) => flush("fdatasync", [handleOf(fd).file], () => {}),
    syncAll: () => {
      present("syncfs");
      const then = namesOf();
      return flush("syncfs", [...allFiles()], then);
    },
    syncFolder: (path) => {
      present("fsync");
      if (path !== "" && names.get(path)?.isFolder !== true) throw new ForebayError("gone", `fsync: no folder ${path}`);
      return flush("fsync", [], namesOf(path));
    },
    unlink: (path) => {
      writable(`unlink ${path}`);
      if (!names.delete(path)) throw new ForebayError("gone", `unlink ${path}: no such file`);
    },
    makeFolder: (path) => {
      writable(`mkdir ${path}`);
      const pieces = path.split("/");
      for (let n = 1; n <= pieces.length; n++) {
        const folder = pieces.slice(0, n).join("/");
        if (!names.has(folder)) names.set(folder, createSimFile(true));
      }
    },
    list: (path) => {
      if (faults.vanished) return [];
      const start = `${path}/`;
      return [...names.keys()]
        .filter((p) => p.startsWith(start) && !p.slice(start.length).includes("/"))
        .map((p) => p.slice(start.length));
    },
    sizeOf: (path) => {
      if (faults.vanished) return null;
      return names.get(path)?.sizeBytes ?? null;
    },
    space: () => {
      present("statfs");
      const freeBytes = Math.max(0, faults.capacityBytes - usedBytes());
      return { totalBytes: faults.capacityBytes, freeBytes, inodesTotal: 0, inodesFree: 0 };
    },
    killProcesses: restart,
    powerLoss: () => {
      restart();
      names = namesAfterPowerLoss(names, durableNames, random);
      for (const file of new Set(names.values())) file.losePower(random);
      durableNames = new Map(names);
    },
    flipBit: (path, offset, bit) => names.get(path)?.flipBit(offset, bit) ?? false,
    paths: () => [...names.keys()].sort(),
    contents: (path) => {
      const file = names.get(path);
      if (file === undefined) return null;
      const bytes = new Uint8Array(file.sizeBytes);
      file.read(bytes, 0);
      return bytes;
    },
    get openDescriptors() {
      return handles.size;
    },
    get usedBytes() {
      return usedBytes();
    },
  };
}

function hasFolder(names: ReadonlyMap<string, SimFile>, path: string): boolean {
  const slash = path.lastIndexOf("/");
  return slash < 0 || names.get(path.slice(0, slash))?.isFolder === true;
}

/** Each name that was made or removed since the last flush is there or not, by chance; folders stay while needed. */
function namesAfterPowerLoss(
  now: ReadonlyMap<string, SimFile>,
  durable: ReadonlyMap<string, SimFile>,
  random: Random,
): Map<string, SimFile> {
  const after = new Map<string, SimFile>();
  for (const path of [...new Set([...now.keys(), ...durable.keys()])].sort()) {
    const [current, old] = [now.get(path), durable.get(path)];
    const file = current === old || random.chance(0.5) ? current : old;
    if (file !== undefined) after.set(path, file);
  }
  // A file whose folder did not survive is lost with it. Parents sort before their children.
  for (const path of after.keys()) if (!hasFolder(after, path)) after.delete(path);
  return after;
}
