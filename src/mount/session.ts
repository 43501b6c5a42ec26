/** What the parts of the FUSE thread share: the request at hand, the inodes, and the ways to answer. */
import type { Pinned } from "../io/syscalls.ts";
import { mountBounds } from "./bounds.ts";
import type { Counters } from "./counters.ts";
import { type InodeTable, NOWHERE } from "./inodes.ts";
import type { FrontInit, Result, ToBack } from "./messages.ts";
import { errnos } from "./protocol.ts";
import type { ReplyWriter } from "./replies.ts";
import type { RequestView } from "./requests.ts";
import type { ReadingMode } from "./types.ts";

/** The kernel's side of a mount, and the cache files: system calls on the FUSE thread. Negative errnos. */
export interface Kernel {
  write(from: Pinned, length: number): number;
  /** Lets the kernel read the file of `fd`: the id by which it is called. */
  openBacking(fd: number): number;
  closeBacking(id: number): void;
  openFile(path: string): number;
  /** Of an open file. */
  sizeOf(fd: number): number;
  closeFile(fd: number): void;
  read(fd: number, into: Pinned, at: number, length: number, offset: number): number;
}

/** A request that waits for the back. */
export interface Waiting {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
  /** The folder that the kernel holds locked meanwhile; {@link NOWHERE} for none. */
  readonly folder: number;
  readonly answer: (result: Result) => void;
}

export interface Session {
  readonly init: FrontInit;
  readonly request: RequestView;
  readonly reply: ReplyWriter;
  readonly kernel: Kernel;
  readonly table: InodeTable;
  readonly counters: Counters;
  readonly nowMs: () => number;
  readonly tell: (message: ToBack) => void;
  readonly waiting: Map<number, Waiting>;
  /** Folders in which look-ups or lists wait, and how many. */
  readonly busy: Map<number, number>;
  mode: ReadingMode;
}

/** What became of a request: every one of them is answered, or somebody was asked who will see to it. */
export type Outcome = "answered" | "asked";

/** Who asked: held while the answer is being found. */
export interface Asker {
  readonly uniqueLow: number;
  readonly uniqueHigh: number;
}

/** Whoever asked the request at hand. */
export function askerOf({ request }: Session): Asker {
  return { uniqueLow: request.uniqueLow, uniqueHigh: request.uniqueHigh };
}

/** Sends what stands in the reply's body. */
export function answer({ reply, kernel, tell }: Session, asker: Asker, bodyBytes: number): Outcome {
  return sent(kernel.write(reply.buffer, reply.head(asker.uniqueLow, asker.uniqueHigh, 0, bodyBytes)), tell);
}

/** Sends an error. */
export function fail({ reply, kernel, tell }: Session, asker: Asker, errno: number): Outcome {
  return sent(kernel.write(reply.buffer, reply.head(asker.uniqueLow, asker.uniqueHigh, errno, 0)), tell);
}

/** ENOENT: nobody waits for it any more. ENODEV, ENOTCONN: nor for anything else. */
const NOBODY_WAITS: ReadonlySet<number> = new Set([errnos.ENOENT, errnos.ENODEV, errnos.ENOTCONN]);

function sent(result: number, tell: Session["tell"]): Outcome {
  if (result < 0 && !NOBODY_WAITS.has(-result)) {
    tell({ kind: "warning", message: "the kernel did not take an answer", fields: { errno: -result } });
  }
  return "answered";
}

/** Has the back answer `asker`'s request: `then` hears what it found. `folder`: the one that it is about. */
export function ask(
  session: Session,
  asker: Asker,
  message: ToBack & { readonly call: number },
  then: (result: Result) => void,
  folder: number = NOWHERE,
): Outcome {
  if (session.waiting.size >= mountBounds.callsMax) return fail(session, asker, errnos.EAGAIN);
  session.waiting.set(message.call, { ...asker, folder, answer: then });
  if (folder !== NOWHERE) session.busy.set(folder, (session.busy.get(folder) ?? 0) + 1);
  session.tell(message);
  return "asked";
}

/** Takes back what waits for call `call`; undefined when nothing does (any more). */
export function takeWaiting({ waiting, busy }: Session, call: number): Waiting | undefined {
  const found = waiting.get(call);
  if (found === undefined) return undefined;
  waiting.delete(call);
  const left = (busy.get(found.folder) ?? 0) - 1;
  if (left > 0) busy.set(found.folder, left);
  else busy.delete(found.folder);
  return found;
}

/** Whether nobody need ask again what the inode's path leads to. */
export function isFresh({ table, counters, nowMs }: Session, place: number): boolean {
  const until = table.freshUntilMs(place);
  if (!(until > nowMs())) return false;
  return table.isFolder(place) || counters.sum(table.slotOf(place)) === table.sumOf(place);
}

/** How long the kernel may believe what it is told of an inode. */
export function ttlMs({ table, nowMs }: Session, place: number): number {
  const left = table.freshUntilMs(place) - nowMs();
  return left > 0 ? Math.min(left, mountBounds.steadyTtlMs) : 0;
}
