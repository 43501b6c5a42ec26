/**
 * Processes of the simulated world. One that is killed does nothing any more: its timers do not fire, nothing that it
 * waits for comes back, and its descriptors are closed. What it had asked of the disk or the network may still happen.
 */
import { ForebayError } from "../src/base/errors.ts";
import { limits } from "../src/base/limits.ts";
import type { Random } from "../src/base/random.ts";
import type { FlashKeeper, KeeperListener } from "../src/flash/types.ts";
import type { Clock } from "../src/io/clock.ts";
import type { Disk } from "../src/io/disk.ts";
import type { WriteDesk } from "../src/writeback/types.ts";

/** Whether a process runs, and what it is given of the world. */
export interface Life {
  readonly alive: () => boolean;
  readonly clock: Clock;
  readonly disk: Disk;
  /** Settles as `work` does while the process lives, else never. */
  guard<T>(work: Promise<T>): Promise<T>;
  end(): void;
}

export function createLife(world: { readonly clock: Clock; readonly disk: Disk }): Life {
  let living = true;
  const open = new Set<number>();
  const guard = <T>(work: Promise<T>): Promise<T> =>
    new Promise((resolve, reject) => {
      work.then(
        (value) => living && resolve(value),
        (error: unknown) => living && reject(error),
      );
    });
  const { clock, disk } = world;
  const guarded: Clock = {
    wallMs: clock.wallMs,
    monotonicMs: clock.monotonicMs,
    after: (delayMs, run) => clock.after(delayMs, () => living && run()),
    sleep: (delayMs) => guard(clock.sleep(delayMs)),
  };
  const own: Disk = {
    ...disk,
    open: (path, mode) => {
      const fd = disk.open(path, mode);
      open.add(fd);
      return fd;
    },
    close: (fd) => {
      open.delete(fd);
      disk.close(fd);
    },
    write: (fd, bytes, offset) => guard(disk.write(fd, bytes, offset)),
    read: (fd, bytes, offset) => guard(disk.read(fd, bytes, offset)),
    syncFile: (fd) => guard(disk.syncFile(fd)),
    syncAll: () => guard(disk.syncAll()),
    syncFolder: (path) => guard(disk.syncFolder(path)),
  };
  return {
    alive: () => living,
    clock: guarded,
    disk: own,
    guard,
    end: () => {
      living = false;
      for (const fd of open) disk.close(fd);
      open.clear();
    },
  };
}

/** The keeper's process as a channel finds it. */
export interface KeeperEnd {
  readonly life: Life;
  readonly keeper: FlashKeeper;
  readonly desk: WriteDesk;
  subscribe(holder: string, listener: KeeperListener): void;
  holderGone(holder: string): void;
}

/** One server's channel to the keeper: in order, taking time, and gone with either end. */
export interface KeeperLink {
  readonly keeper: FlashKeeper;
  readonly desk: WriteDesk;
  /** A keeper is there (again). */
  join(end: KeeperEnd): void;
  /** The keeper's process ended: whoever waits for an answer is told. */
  lost(): void;
}

export function createKeeperLink(parts: {
  readonly holder: string;
  readonly life: Life;
  readonly clock: Clock;
  readonly random: Random;
  readonly delayMsMax: number;
  readonly listener: KeeperListener;
  readonly joined: () => void;
}): KeeperLink {
  const { clock, random, life, holder } = parts;
  let end: KeeperEnd | null = null;
  let arrivesAtMs = 0;
  let returnsAtMs = 0;
  const waiting = new Set<(error: ForebayError) => void>();
  const closed = (): ForebayError => new ForebayError("closed", "the keeper is not there");
  const pause = (atMs: number): number =>
    Math.max(atMs, clock.monotonicMs() + (random.uint32() / 0x1_0000_0000) * parts.delayMsMax);

  const reach = <T>(timeoutMs: number, run: (end: KeeperEnd) => Promise<T>): Promise<T> => {
    const peer = end;
    if (peer === null) return Promise.reject(closed());
    return new Promise<T>((resolve, reject) => {
      const settle = (then: () => void): void => {
        if (!waiting.delete(fail)) return;
        timer.cancel();
        if (life.alive()) then();
      };
      const fail = (error: ForebayError): void => settle(() => reject(error));
      waiting.add(fail);
      const timer = clock.after(timeoutMs, () => fail(new ForebayError("timeout", "no answer")));
      const back = (then: () => void): void => {
        returnsAtMs = pause(returnsAtMs);
        clock.after(returnsAtMs - clock.monotonicMs(), () => settle(then));
      };
      arrivesAtMs = pause(arrivesAtMs);
      clock.after(arrivesAtMs - clock.monotonicMs(), () => {
        if (!peer.life.alive() || !life.alive()) return;
        run(peer).then(
          (value) => {
            if (peer.life.alive()) back(() => resolve(structuredClone(value)));
          },
          (error: unknown) => {
            if (peer.life.alive()) back(() => reject(error));
          },
        );
      });
    });
  };
  const call = <T>(run: (keeper: FlashKeeper) => Promise<T>): Promise<T> =>
    reach(limits.keeperReplyTimeoutMs, ({ keeper }) => run(keeper));
  return {
    desk: createDeskLink(reach),
    keeper: {
      acquire: (request) => call((keeper) => keeper.acquire(structuredClone(request))),
      publish: (publication) => call((keeper) => keeper.publish(structuredClone(publication))),
      abandon: (...args) => call((keeper) => keeper.abandon(...args)),
      claim: (...args) => call((keeper) => keeper.claim(...args)),
      filled: (versionId, blocks) => {
        const copy = structuredClone(blocks);
        return call((keeper) => keeper.filled(versionId, copy));
      },
      unclaim: (...args) => call((keeper) => keeper.unclaim(...args)),
      awaitBlock: (...args) => call((keeper) => keeper.awaitBlock(...args)),
      drop: (...args) => call((keeper) => keeper.drop(...args)),
      markChange: (scope) => call((keeper) => keeper.markChange(scope)),
      unmarkChange: (mark, happened) => call((keeper) => keeper.unmarkChange(mark, happened)),
      peek: (...args) => call((keeper) => keeper.peek(...args)),
      reportFailure: (message) => call((keeper) => keeper.reportFailure(message)),
    },
    join: (peer) => {
      if (!life.alive()) return;
      end = peer;
      peer.subscribe(holder, {
        evicted: async (fileIds) => {
          await peer.life.clock.sleep((random.uint32() / 0x1_0000_0000) * parts.delayMsMax);
          if (!life.alive()) throw closed();
          await parts.listener.evicted(fileIds);
        },
      });
      parts.joined();
    },
    lost: () => {
      end = null;
      for (const fail of [...waiting]) fail(closed());
    },
  };
}

/** The desk behind a channel. What waits for the lake waits as long as its caller said, and for the answer's way. */
function createDeskLink(reach: <T>(timeoutMs: number, run: (end: KeeperEnd) => Promise<T>) => Promise<T>): WriteDesk {
  const ask = <A extends readonly unknown[], T>(
    args: A,
    run: (desk: WriteDesk, args: A) => Promise<T>,
    waitMs = 0,
  ): Promise<T> => {
    // What goes through a channel is a copy.
    const copy = structuredClone(args);
    return reach(limits.keeperReplyTimeoutMs + waitMs, ({ desk }) => run(desk, copy));
  };
  return {
    reserve: (...args) => ask(args, (desk, copy) => desk.reserve(...copy)),
    giveBack: (...args) => ask(args, (desk, copy) => desk.giveBack(...copy)),
    stage: (...args) => ask(args, (desk, copy) => desk.stage(...copy)),
    write: (...args) => ask(args, (desk, copy) => desk.write(...copy)),
    latest: (...args) => ask(args, (desk, copy) => desk.latest(...copy)),
    inline: (...args) => ask(args, (desk, copy) => desk.inline(...copy)),
    names: (...args) => ask(args, (desk, copy) => desk.names(...copy)),
    blocks: (...args) => ask(args, (desk, copy) => desk.blocks(...copy)),
    fence: (...args) => ask(args, (desk, copy) => desk.fence(...copy), args[2]),
    unfence: (...args) => ask(args, (desk, copy) => desk.unfence(...copy)),
    flush: (...args) => ask(args, (desk, copy) => desk.flush(...copy), args[1]),
    alias: (...args) => ask(args, (desk, copy) => desk.alias(...copy)),
    adopt: (...args) => ask(args, (desk, copy) => desk.adopt(...copy)),
    warmBegin: (...args) => ask(args, (desk, copy) => desk.warmBegin(...copy)),
    warmEnd: (...args) => ask(args, (desk, copy) => desk.warmEnd(...copy)),
  };
}
