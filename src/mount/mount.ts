/**
 * A mount as a whole: the FUSE thread, the event loop's side, and the folder between them. The process should have
 * nothing else to do that holds its event loop, and must never touch its own mount.
 */
import * as fs from "node:fs";
import { MessageChannel, Worker } from "node:worker_threads";
import { ForebayError } from "../base/errors.ts";
import type { Clock } from "../io/clock.ts";
import { pinnedBuffer } from "../io/syscalls.ts";
import { createBack } from "./back.ts";
import { mountBounds } from "./bounds.ts";
import type { FrontInit, ToBack, ToFront } from "./messages.ts";
import { endMount, type Mounting, makeMount } from "./mounting.ts";
import { createTeller } from "./notices.ts";
import { errnos } from "./protocol.ts";
import { createEvent, writeFrom } from "./syscalls.ts";
import type { FileSource, MountLog, MountOptions, ReadingMode } from "./types.ts";

export interface MountParts {
  readonly options: MountOptions;
  readonly source: FileSource;
  readonly clock: Clock;
  readonly log: MountLog;
}

/** A mount that stands. */
export interface Mounted {
  readonly mode: ReadingMode;
  /** Why the kernel does not read cache files by itself; null when it does. */
  readonly why: string | null;
  /** Resolves when the mount has ended, whoever ended it, with the reason. */
  readonly ended: Promise<string>;
  /** These cache files were unlinked: resolves when the mount holds none of them open. */
  evicted(fileIds: readonly number[]): Promise<void>;
  /** Nothing known is believed any more: policies changed, or the index is another one. */
  forgetAll(): void;
  /** Ends the mount. What is open then fails, except what the kernel reads by itself. */
  stop(): Promise<void>;
}

/** Mounts, and resolves when the kernel has agreed. Rejects with `config` (and the remedy) or `timeout`. */
export async function startMount({ options, source, clock, log }: MountParts): Promise<Mounted> {
  const mounting = await makeMount(options);
  const event = createEvent();
  const ring = pinnedBuffer(8);
  ring.bytes.writeBigUInt64LE(1n);
  const { port1: port, port2 } = new MessageChannel();
  const mail = new SharedArrayBuffer(8);
  const letters = new Int32Array(mail);
  const init: FrontInit = {
    device: mounting.device,
    event,
    counters: source.counters,
    filesRoot: source.filesRoot,
    uid: options.uid,
    gid: options.gid,
    umask: options.umask,
    passthrough: options.passthrough,
  };
  let over = false;
  const send = (message: ToFront): void => {
    // After the end a descriptor's number may be another file's.
    if (over) return;
    port.postMessage(message);
    Atomics.add(letters, 0, 1);
    writeFrom(event, ring, 8);
  };
  const back = createBack({
    source,
    clock,
    log,
    send,
    write: (from, length) => (over ? -errnos.ENODEV : writeFrom(mounting.device, from, length)),
  });
  const worker = new Worker(new URL("./front-worker.ts", import.meta.url), {
    workerData: { init, port: port2, mail },
    transferList: [port2],
  });
  const releases = new Map<number, () => void>();
  const ready = Promise.withResolvers<{ readonly mode: ReadingMode; readonly why: string | null }>();
  const ended = Promise.withResolvers<string>();
  const teller = createTeller(mounting.device, () => send({ kind: "expired" }));
  let nextRelease = 1;

  /** `threadEnded`: nothing on that thread uses the descriptors any more. */
  const end = async (why: string, threadEnded: boolean): Promise<void> => {
    if (over) return;
    over = true;
    back.close();
    for (const resolve of releases.values()) resolve();
    releases.clear();
    port.close();
    if (threadEnded) {
      await teller.idle(clock);
      // Whoever still waits in the kernel is answered now: with the last descriptor the connection goes.
      fs.closeSync(mounting.device);
      fs.closeSync(event);
    }
    void worker.terminate();
    ready.reject(new ForebayError("config", `the mount ended before it stood: ${why}`));
    ended.resolve(why);
  };
  worker.on("message", (message: ToBack) => {
    if (over) return;
    switch (message.kind) {
      case "ready":
        ready.resolve(message);
        break;
      case "ended":
        void end(message.why, true);
        break;
      case "warning":
        log("warn", message.message, message.fields);
        break;
      case "let-go":
        releases.get(message.number)?.();
        releases.delete(message.number);
        break;
      case "expire":
        teller.expire(message.parentId, message.name);
        break;
      default:
        back.take(message);
    }
  });
  worker.on("error", (error) => void end(`the FUSE thread failed: ${String(error)}`, true));
  worker.on("exit", () => void end("the FUSE thread ended", true));
  ready.promise.catch(() => {});
  const timer = clock.after(mountBounds.mountMs, () => {
    ready.reject(new ForebayError("timeout", "the kernel did not begin to speak with the mount"));
  });
  const stop = async (): Promise<void> => {
    if (over) return;
    await endMount(options.folder, mounting.by);
    send({ kind: "stop" });
    const late = clock.after(mountBounds.stopMs, () => void end("the FUSE thread did not stop in time", false));
    await ended.promise;
    late.cancel();
  };
  try {
    const { mode, why } = await ready.promise;
    if (why !== null) log("warn", "files are read through this process, which is slower", { reason: why });
    return {
      mode,
      why,
      ended: unmountAfter(ended.promise, options.folder, mounting.by),
      evicted: (fileIds) => {
        if (over || fileIds.length === 0) return Promise.resolve();
        const number = nextRelease++;
        return new Promise((resolve) => {
          releases.set(number, resolve);
          send({ kind: "evicted", number, fileIds });
        });
      },
      forgetAll: () => {
        send({ kind: "forget-all" });
      },
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  } finally {
    timer.cancel();
  }
}

/** A mount whose thread has ended leaves no dead folder behind. */
async function unmountAfter(ended: Promise<string>, folder: string, by: Mounting["by"]): Promise<string> {
  const why = await ended;
  await endMount(folder, by);
  return why;
}
