/** The real kernel behind a {@link Kernel}: the opened `/dev/fuse`, and the cache files. */
import * as fs from "node:fs";
import { type Pinned, pread } from "../io/syscalls.ts";
import { errnos } from "./protocol.ts";
import type { Kernel } from "./session.ts";
import { BackingFiles, writeFrom } from "./syscalls.ts";

/** A mount's device, opened by whoever mounted it. */
export function createKernel(device: number): Kernel {
  const backings = new BackingFiles(device);
  return {
    write: (from: Pinned, length) => writeFrom(device, from, length),
    openBacking: (fd) => backings.open(fd),
    closeBacking: (id) => {
      backings.close(id);
    },
    openFile: (path) => attempt(() => fs.openSync(path, fs.constants.O_RDONLY)),
    sizeOf: (fd) => attempt(() => fs.fstatSync(fd).size),
    closeFile: (fd) => {
      attempt(() => {
        fs.closeSync(fd);
        return 0;
      });
    },
    read: (fd, into, at, length, offset) => pread(fd, into, at, length, offset),
  };
}

function attempt(run: () => number): number {
  try {
    return run();
  } catch (error) {
    const { errno } = error as NodeJS.ErrnoException;
    return typeof errno === "number" && errno < 0 ? errno : -errnos.EIO;
  }
}
