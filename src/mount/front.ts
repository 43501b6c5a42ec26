/**
 * The FUSE thread's side of a mount: takes one request of the kernel after the other, answers what is known here, and
 * has the back answer the rest. Nothing here waits.
 */
import type { Pinned } from "../io/syscalls.ts";
import { Backings } from "./backings.ts";
import { mountBounds } from "./bounds.ts";
import type { Counters } from "./counters.ts";
import { createFiles, type Files, openFile, readFile, releaseFile } from "./front-files.ts";
import { createFolders, type Folders, openFolder, readFolder, releaseFolder } from "./front-folders.ts";
import { agree } from "./front-init.ts";
import { getAttributes, getExtended, listExtended, lookUp } from "./front-names.ts";
import { InodeTable, NOWHERE } from "./inodes.ts";
import type { FrontInit, ToBack, ToFront } from "./messages.ts";
import { errnos, opcodes, sizes } from "./protocol.ts";
import { type Ownership, ReplyWriter } from "./replies.ts";
import { RequestView } from "./requests.ts";
import { answer, askerOf, fail, type Kernel, type Session, takeWaiting } from "./session.ts";

/** The parts of {@link Front}. Buffers: `request` for what the kernel sends, `reply` for one read and its header. */
export interface FrontParts {
  readonly init: FrontInit;
  readonly kernel: Kernel;
  readonly counters: Counters;
  readonly request: Pinned;
  readonly reply: Pinned;
  readonly nowMs: () => number;
  readonly wallMs: number;
  readonly tell: (message: ToBack) => void;
}

/** Operations that would change something. */
const CHANGES: ReadonlySet<number> = new Set([
  opcodes.SETATTR,
  opcodes.SYMLINK,
  opcodes.MKNOD,
  opcodes.MKDIR,
  opcodes.UNLINK,
  opcodes.RMDIR,
  opcodes.RENAME,
  opcodes.RENAME2,
  opcodes.LINK,
  opcodes.WRITE,
  opcodes.SETXATTR,
  opcodes.REMOVEXATTR,
  opcodes.CREATE,
  opcodes.FALLOCATE,
  opcodes.COPY_FILE_RANGE,
  opcodes.TMPFILE,
]);

/** Whether the mount goes on. */
export type Going = "on" | "ended";

export class Front {
  readonly #session: Session;
  readonly #files: Files;
  readonly #folders: Folders = createFolders();
  #agreed = false;
  #sweptTo = 1;
  #noticesOut = 0;

  constructor(parts: FrontParts) {
    const { init, kernel, counters, nowMs, tell } = parts;
    const table: InodeTable = new InodeTable((place) => backings.drop(place), parts.wallMs);
    this.#session = {
      init,
      kernel,
      counters,
      nowMs,
      tell,
      table,
      request: new RequestView(parts.request),
      reply: new ReplyWriter(parts.reply, ownershipOf(init)),
      waiting: new Map(),
      busy: new Map(),
      mode: init.passthrough ? "passthrough" : "copying",
    };
    const backings = new Backings(this.#session);
    this.#files = createFiles(backings);
  }

  /** What is held, for tests and the memory bound. */
  get held(): { readonly inodes: number; readonly bytes: number; readonly waiting: number; readonly open: number } {
    const { table, waiting } = this.#session;
    const open = this.#files.open.size + this.#folders.open.size;
    return { inodes: table.count, bytes: table.heldBytes, waiting: waiting.size, open };
  }

  /** Lets go of every cache file. */
  close(): void {
    for (const { fd } of this.#files.open.values()) if (fd >= 0) this.#session.kernel.closeFile(fd);
    this.#files.open.clear();
  }

  /** Takes the request in the first `count` bytes of the buffer. Whatever it is, nothing is thrown. */
  handle(count: number): Going {
    const session = this.#session;
    const acceptance = session.request.accept(count);
    if (acceptance === "broken") {
      session.tell({ kind: "warning", message: "the kernel sent what is no request", fields: { bytes: count } });
      return "ended";
    }
    const { opcode } = session.request;
    if (acceptance === "malformed") {
      if (!isUnanswered(opcode)) fail(session, askerOf(session), errnos.EINVAL);
      return "on";
    }
    if (opcode === opcodes.INIT) {
      if (this.#agreed) fail(session, askerOf(session), errnos.EINVAL);
      else this.#agreed = agree(session);
      return this.#agreed ? "on" : "ended";
    }
    if (!this.#agreed) {
      if (!isUnanswered(opcode)) fail(session, askerOf(session), errnos.EIO);
      return "on";
    }
    return this.#run(opcode);
  }

  #run(opcode: number): Going {
    const session = this.#session;
    switch (opcode) {
      case opcodes.LOOKUP:
        lookUp(session);
        break;
      case opcodes.GETATTR:
        getAttributes(session);
        break;
      case opcodes.OPEN:
        openFile(session, this.#files);
        break;
      case opcodes.READ:
        readFile(session, this.#files);
        break;
      case opcodes.RELEASE:
        releaseFile(session, this.#files);
        break;
      case opcodes.OPENDIR:
        openFolder(session, this.#folders);
        break;
      case opcodes.READDIR:
      case opcodes.READDIRPLUS:
        readFolder(session, this.#folders);
        break;
      case opcodes.RELEASEDIR:
        releaseFolder(session, this.#folders);
        break;
      case opcodes.FORGET:
        this.#forget(session.request.nodeId, session.request.wide(0));
        break;
      case opcodes.BATCH_FORGET:
        for (let i = 0; i < session.request.forgetCount(); i++) {
          const { nodeId, count } = session.request.forgetAt(i);
          this.#forget(nodeId, count);
        }
        break;
      case opcodes.INTERRUPT:
        session.tell({ kind: "interrupt", call: session.request.wide(0) });
        break;
      case opcodes.GETXATTR:
        getExtended(session);
        break;
      case opcodes.LISTXATTR:
        listExtended(session);
        break;
      case opcodes.STATFS:
        statFileSystem(session);
        break;
      case opcodes.FSYNC:
      case opcodes.FSYNCDIR:
      case opcodes.ACCESS:
        answer(session, askerOf(session), 0);
        break;
      case opcodes.DESTROY:
        answer(session, askerOf(session), 0);
        return "ended";
      default:
        fail(session, askerOf(session), refusal(opcode));
    }
    return "on";
  }

  #forget(nodeId: number, count: number): void {
    const { table } = this.#session;
    const place = table.placeOf(nodeId);
    if (place !== NOWHERE && count > 0) table.forget(place, count);
  }

  /** Takes what the back says. */
  hear(message: ToFront): Going {
    const session = this.#session;
    switch (message.kind) {
      case "answer":
      case "failed": {
        const waiting = takeWaiting(session, message.call);
        if (waiting === undefined) break;
        if (message.kind === "answer") waiting.answer(message.result);
        else fail(session, waiting, message.errno);
        break;
      }
      case "evicted":
        this.#files.backings.evicted(message.number, message.fileIds);
        break;
      case "expired":
        this.#noticesOut = Math.max(0, this.#noticesOut - 1);
        break;
      case "forget-all":
        this.#disbelieve(1, session.table.end);
        this.#files.backings.dropIdle();
        break;
      case "stop":
        for (const [call, waiting] of [...session.waiting]) {
          takeWaiting(session, call);
          fail(session, waiting, errnos.EIO);
        }
        return "ended";
    }
    return "on";
  }

  /**
   * Has the kernel ask again about names whose blobs changed: a part of all inodes at a time. Called now and then.
   */
  sweep(): void {
    const { table, counters, busy } = this.#session;
    if (this.#sweptTo >= table.end) this.#sweptTo = 1;
    const end = Math.min(table.end, this.#sweptTo + mountBounds.sweepNodesMax);
    const nowMs = this.#session.nowMs();
    let place = this.#sweptTo;
    for (; place < end && this.#noticesOut < mountBounds.noticesMax; place++) {
      if (!table.isUsed(place) || table.isFolder(place) || !table.isNamed(place) || table.isNoticed(place)) continue;
      // The kernel would wait for the folder, and the notice with it.
      if (busy.has(table.parentOf(place))) continue;
      const disbelieved = table.freshUntilMs(place) === Number.NEGATIVE_INFINITY;
      // What the kernel does not believe any more by itself needs no notice.
      if (!disbelieved && table.freshUntilMs(place) <= nowMs) continue;
      if (disbelieved || counters.sum(table.slotOf(place)) !== table.sumOf(place)) this.#expire(place);
    }
    this.#sweptTo = place;
  }

  #disbelieve(from: number, to: number): void {
    const { table } = this.#session;
    for (let place = from; place < to; place++) {
      if (table.isUsed(place)) table.refresh(place, Number.NEGATIVE_INFINITY, { slot: table.slotOf(place), sum: 0 });
    }
  }

  #expire(place: number): void {
    const { table, tell } = this.#session;
    table.notice(place);
    this.#noticesOut++;
    tell({ kind: "expire", parentId: table.idOf(table.parentOf(place)), name: table.nameOf(place) });
  }
}

/** Requests to which the kernel wants no answer. */
function isUnanswered(opcode: number): boolean {
  return opcode === opcodes.FORGET || opcode === opcodes.BATCH_FORGET || opcode === opcodes.INTERRUPT;
}

function refusal(opcode: number): number {
  if (CHANGES.has(opcode)) return errnos.EROFS;
  if (opcode === opcodes.READLINK) return errnos.EINVAL;
  if (opcode === opcodes.IOCTL) return errnos.ENOTTY;
  // The kernel asks no more, and does what can be done without: FLUSH, LSEEK, locks, STATX.
  return errnos.ENOSYS;
}

function ownershipOf({ uid, gid, umask }: FrontInit): Ownership {
  return { uid, gid, fileMode: 0o444 & ~umask, folderMode: 0o555 & ~umask };
}

/** The lake has no end: a size that programs find large enough, and nothing of it taken. */
function statFileSystem(session: Session): void {
  const { reply, table } = session;
  const blocks = 2 ** 38;
  reply.clear(0, sizes.statfsOut);
  for (const at of [0, 8, 16]) reply.wide(at, blocks);
  reply.wide(24, table.count);
  reply.wide(32, 0);
  reply.word(40, 4096);
  reply.word(44, mountBounds.nameBytesMax);
  reply.word(48, 4096);
  answer(session, askerOf(session), sizes.statfsOut);
}
