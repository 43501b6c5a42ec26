/**
 * syncfs(2) of the flash folder, on a thread of its own. The folder stays open for the life of the process: the kernel
 * reports a failed write-back once to each descriptor that was open before it, so that nothing lost goes unseen.
 */
import * as fs from "node:fs";
import { Worker } from "node:worker_threads";
import { ForebayError } from "../base/errors.ts";
import { diskError } from "./disk.ts";
import { syncfs } from "./syscalls.ts";

/** Flushes the file system of one folder. */
export interface FolderSync {
  /** Everything written before the call is on stable storage when it resolves; rejects with `flash-failed`. */
  sync(): Promise<void>;
  close(): void;
}

interface Answer {
  readonly call: number;
  readonly result: number;
}

/**
 * Opens `root` for {@link FolderSync}. `fellBack` hears (once) when there is no thread to be had: the flush then runs on
 * the calling thread, which stands still meanwhile. Throws `flash-failed` or `gone` when the folder cannot be opened.
 */
export function openFolderSync(root: string, fellBack: (why: string) => void): FolderSync {
  let fd: number;
  try {
    fd = fs.openSync(root, fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  } catch (error) {
    throw diskError(error, `open ${root}`);
  }
  const calls = new Map<number, (result: number) => void>();
  let nextCall = 1;
  let worker: Worker | null = null;

  /** No thread (any more): what waits on it is done here. */
  const fallBack = (why: string): void => {
    if (worker === null) return;
    void worker.terminate();
    worker = null;
    fellBack(why);
    for (const resolve of calls.values()) resolve(syncfs(fd));
    calls.clear();
  };
  const answered = ({ call, result }: Answer): void => {
    const resolve = calls.get(call);
    calls.delete(call);
    if (calls.size === 0) worker?.unref();
    resolve?.(result);
  };
  try {
    worker = new Worker(new URL("./sync-worker.ts", import.meta.url));
    worker.on("message", answered);
    worker.on("error", (error) => fallBack(String(error)));
    worker.on("exit", () => fallBack("the thread ended"));
    worker.unref();
  } catch (error) {
    worker = null;
    fellBack(String(error));
  }
  const flush = (): Promise<number> => {
    const thread = worker;
    if (thread === null) return Promise.resolve(syncfs(fd));
    return new Promise((resolve) => {
      const call = nextCall++;
      calls.set(call, resolve);
      thread.ref();
      thread.postMessage({ call, fd });
    });
  };
  return {
    sync: async () => {
      if (fd < 0) throw new ForebayError("closed", "the folder was closed");
      const result = await flush();
      if (result < 0) throw new ForebayError("flash-failed", `syncfs failed with errno ${-result}`);
    },
    close: () => {
      if (fd < 0) return;
      const thread = worker;
      worker = null;
      void thread?.terminate();
      // Calls under way are answered as failures: their thread is gone.
      for (const resolve of calls.values()) resolve(-5);
      calls.clear();
      fs.closeSync(fd);
      fd = -1;
    },
  };
}
