/**
 * What the kernel is told unasked: that a name may lead elsewhere. The kernel waits until nobody looks anything up in
 * the folder, so this is said away from both threads of the mount, which have to answer those look-ups, and one thing
 * at a time.
 */
import * as fs from "node:fs";
import type { Clock } from "../io/clock.ts";
import { mountBounds } from "./bounds.ts";
import { notices, sizes } from "./protocol.ts";

const HIGH_WORD = 0x1_0000_0000;

export interface Teller {
  /** The kernel looks `name` up anew when it needs it next. */
  expire(parentId: number, name: Uint8Array): void;
  /** Says nothing more; resolves when nothing is being said, or after a while. */
  idle(clock: Clock): Promise<void>;
}

/** `told` is called after each thing said. */
export function createTeller(device: number, told: () => void): Teller {
  const waiting: Buffer[] = [];
  let busy = false;
  let closed = false;
  let whenIdle = (): void => {};
  const next = (): void => {
    const notice = closed ? undefined : waiting.shift();
    busy = notice !== undefined;
    if (notice === undefined) {
      whenIdle();
      return;
    }
    // ENOENT: the kernel does not know the name any more. Nothing that fails here needs a remedy.
    fs.write(device, notice, 0, notice.length, null, () => {
      told();
      next();
    });
  };
  return {
    expire: (parentId, name) => {
      waiting.push(entryNotice(parentId, name));
      if (!busy) next();
    },
    idle: (clock) => {
      closed = true;
      if (!busy) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = clock.after(mountBounds.stopMs, resolve);
        whenIdle = () => {
          timer.cancel();
          resolve();
        };
      });
    },
  };
}

/** FUSE_NOTIFY_INVAL_ENTRY that lets the name expire, and whoever uses it go on. */
export function entryNotice(parentId: number, name: Uint8Array): Buffer {
  const body = 16 + name.length + 1;
  const notice = Buffer.alloc(sizes.outHeader + body);
  notice.writeUInt32LE(notice.length, 0);
  notice.writeInt32LE(notices.INVAL_ENTRY, 4);
  notice.writeUInt32LE(parentId % HIGH_WORD, 16);
  notice.writeUInt32LE(Math.floor(parentId / HIGH_WORD), 20);
  notice.writeUInt32LE(name.length, 24);
  notice.writeUInt32LE(notices.EXPIRE_ONLY, 28);
  notice.set(name, 32);
  return notice;
}
