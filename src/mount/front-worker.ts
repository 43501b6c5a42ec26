/**
 * The thread that serves the kernel. It waits for requests and for mail in one place (poll), and looks for a next
 * request a little while before it waits: a program that opens one file after the other is answered without a sleep in
 * between. Its own event loop never turns: mail is taken out of its port by hand.
 */
import { type MessagePort, parentPort, receiveMessageOnPort, workerData } from "node:worker_threads";
import { asForebayError } from "../base/errors.ts";
import { realClock } from "../io/clock.ts";
import { pinnedBuffer } from "../io/syscalls.ts";
import { mountBounds } from "./bounds.ts";
import { openCounters } from "./counters.ts";
import { Front } from "./front.ts";
import { createKernel } from "./kernel.ts";
import type { FrontInit, ToBack, ToFront } from "./messages.ts";
import { errnos, sizes } from "./protocol.ts";
import { readInto, Waiter } from "./syscalls.ts";

interface Given {
  readonly init: FrontInit;
  readonly port: MessagePort;
  /** [0]: how many letters were sent here. */
  readonly mail: SharedArrayBuffer;
}

const SPIN_MS = mountBounds.spinMicroseconds / 1_000;
/** Reading the clock costs as much as looking for a request. */
const LOOKS_PER_CLOCK = 8;

function serve({ init, port, mail }: Given): string {
  const tell = (message: ToBack): void => parentPort?.postMessage(message);
  const request = pinnedBuffer(mountBounds.requestBytesMax);
  const front = new Front({
    init,
    kernel: createKernel(init.device),
    counters: openCounters(init.counters),
    request,
    reply: pinnedBuffer(mountBounds.readBytesMax + sizes.outHeader),
    nowMs: () => realClock.monotonicMs(),
    wallMs: realClock.wallMs(),
    tell,
  });
  const waiter = new Waiter(init.device, init.event);
  const drain = pinnedBuffer(8);
  const letters = new Int32Array(mail);
  let taken = 0;
  let sweepAtMs = realClock.monotonicMs() + mountBounds.sweepMs;
  let spinUntilMs = 0;
  let looks = 0;

  const end = (why: string): string => {
    front.close();
    return why;
  };
  /** Whether the mount goes on. */
  const takeMail = (): boolean => {
    if (Atomics.load(letters, 0) === taken) return true;
    readInto(init.event, drain);
    for (;;) {
      const letter = receiveMessageOnPort(port) as { message: ToFront } | undefined;
      if (letter === undefined) return true;
      taken++;
      if (front.hear(letter.message) === "ended") return false;
    }
  };
  for (;;) {
    if (!takeMail()) return end("stopped");
    const count = readInto(init.device, request);
    if (count > 0) {
      if (front.handle(count) === "ended") return end("unmounted");
      spinUntilMs = 0;
      continue;
    }
    if (count === -errnos.ENODEV) return end("unmounted");
    // ENOENT: a request that was interrupted before it was read.
    if (count === -errnos.EINTR || count === -errnos.ENOENT) continue;
    if (count !== -errnos.EAGAIN) return end(`reading requests failed with errno ${-count}`);
    if (spinUntilMs === 0) {
      spinUntilMs = realClock.monotonicMs() + SPIN_MS;
      looks = 0;
    }
    if (++looks % LOOKS_PER_CLOCK !== 0 || realClock.monotonicMs() < spinUntilMs) continue;
    waiter.wait(mountBounds.sweepMs);
    const nowMs = realClock.monotonicMs();
    if (nowMs < sweepAtMs) continue;
    front.sweep();
    sweepAtMs = nowMs + mountBounds.sweepMs;
  }
}

let why: string;
try {
  why = serve(workerData as Given);
} catch (error) {
  why = `the FUSE thread failed: ${asForebayError(error).message}`;
}
parentPort?.postMessage({ kind: "ended", why } satisfies ToBack);
