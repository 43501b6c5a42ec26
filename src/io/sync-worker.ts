/** The thread on which `sync-folder.ts` waits for syncfs(2): a flush may take seconds, the event loop must not. */
import { parentPort } from "node:worker_threads";
import { syncfs } from "./syscalls.ts";

parentPort?.on("message", ({ call, fd }: { readonly call: number; readonly fd: number }) => {
  parentPort?.postMessage({ call, result: syncfs(fd) });
});
