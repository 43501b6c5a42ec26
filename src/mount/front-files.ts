/**
 * OPEN, READ, RELEASE. An open is where a version is decided: if the inode is not what its path leads to any more, or
 * would have to be read in another way than before, the answer is ESTALE, upon which the kernel looks the path up once
 * more by itself and opens what it finds.
 */
import type { Backings } from "./backings.ts";
import { mountBounds } from "./bounds.ts";
import { etagHash, NOWHERE, ways } from "./inodes.ts";
import type { OpenedThere } from "./messages.ts";
import { errnos, openFlags, sizes } from "./protocol.ts";
import { type Asker, answer, ask, askerOf, fail, isFresh, type Outcome, type Session } from "./session.ts";
import type { Backing } from "./types.ts";

const ACCESS_MODE = 3;
const READ_ONLY = 0;

/** An open file whose reads come here. `fd`: the cache file; `remote`: at the back; neither: an empty file. */
interface OpenFile {
  readonly place: number;
  readonly fd: number;
  readonly fileId: number;
  readonly remote: number | null;
}

export interface Files {
  readonly open: Map<number, OpenFile>;
  nextHandle: number;
  readonly backings: Backings;
}

export function createFiles(backings: Backings): Files {
  return { open: new Map(), nextHandle: 1, backings };
}

export function openFile(session: Session, files: Files): Outcome {
  const { request, table } = session;
  const asker = askerOf(session);
  const place = table.placeOf(request.nodeId);
  if (place === NOWHERE) return fail(session, asker, errnos.ESTALE);
  if (table.isFolder(place)) return fail(session, asker, errnos.EISDIR);
  if ((request.word(0) & ACCESS_MODE) !== READ_ONLY) return fail(session, asker, errnos.EROFS);
  if (files.open.size >= mountBounds.openHandlesMax) return fail(session, asker, errnos.ENFILE);
  if (isFresh(session, place)) {
    if (table.sizeBytes(place) === 0) return openEmpty(session, files, asker, place);
    const fileId = table.fileOf(place);
    const whole =
      fileId !== 0 && mayBeWhole(session, place)
        ? openWhole(session, files, asker, place, { fileId, versionId: fileId })
        : null;
    if (whole !== null) return whole;
  }
  return askToOpen(session, files, { asker, nodeId: request.nodeId, call: request.unique, piecewise: false });
}

interface Opening {
  readonly asker: Asker;
  readonly nodeId: number;
  readonly call: number;
  /** The cache file was found to be no use. */
  readonly piecewise: boolean;
}

function askToOpen(session: Session, files: Files, opening: Opening): Outcome {
  const { table } = session;
  const { asker, call, piecewise } = opening;
  const path = table.path(table.placeOf(opening.nodeId));
  return ask(session, asker, { kind: "open", call, path, piecewise }, (result) => {
    if (result.kind !== "opened") fail(session, asker, errnos.EIO);
    else opened(session, files, opening, result.opened);
  });
}

/** The back has said what the path leads to, and where its bytes are. */
function opened(session: Session, files: Files, opening: Opening, there: OpenedThere | null): Outcome {
  const { table } = session;
  const { asker } = opening;
  const place = table.placeOf(opening.nodeId);
  const letGo = (): void => {
    if (there !== null && there.remote !== null) session.tell({ kind: "close", remote: there.remote });
  };
  if (place === NOWHERE || there === null) {
    letGo();
    if (place !== NOWHERE) table.unname(place);
    return fail(session, asker, place === NOWHERE ? errnos.ESTALE : errnos.ENOENT);
  }
  if (!isStill(session, place, there)) {
    letGo();
    table.unname(place);
    return fail(session, asker, errnos.ESTALE);
  }
  table.refresh(place, there.freshUntilMs, there.stamp);
  if (there.sizeBytes === 0) {
    letGo();
    return openEmpty(session, files, asker, place);
  }
  const wanted = there.backing === null ? ways.copying : wayOfWhole(session);
  const way = table.way(place);
  // One inode, one way. A complete file that was read piece by piece has its whole life before it, as another inode.
  if (way !== ways.undecided && way !== wanted) {
    letGo();
    table.unname(place);
    return fail(session, asker, errnos.ESTALE);
  }
  if (there.remote !== null) {
    return openHandle(session, files, asker, { place, fd: -1, fileId: 0, remote: there.remote });
  }
  if (there.backing === null) return fail(session, asker, errnos.EIO);
  const { fileId, versionId } = there.backing;
  // A file that came otherwise than by being filled has another number: that is asked for again each time.
  table.keepFile(place, fileId === versionId ? fileId : 0);
  const whole = openWhole(session, files, asker, place, there.backing);
  if (whole !== null) return whole;
  if (opening.piecewise) return fail(session, asker, errnos.EIO);
  return askToOpen(session, files, { ...opening, piecewise: true });
}

const wayOfWhole = (session: Session) => (session.mode === "passthrough" ? ways.passthrough : ways.copying);

/** Whether an inode stands for the version that its path leads to. One that nobody has read yet may still become it. */
function isStill({ table }: Session, place: number, there: OpenedThere): boolean {
  const [low, high] = etagHash(there.etag);
  if (table.isVersion(place, low, high, there.sizeBytes))
    return table.isNamed(place) || table.way(place) !== ways.undecided;
  if (table.way(place) !== ways.undecided || table.sizeBytes(place) !== there.sizeBytes) return false;
  if (!table.isNamed(place)) return false;
  table.become(place, low, high, there.mtimeMs);
  return true;
}

/** Whether an inode may be read from its cache file: unless it was read piece by piece before. */
function mayBeWhole(session: Session, place: number): boolean {
  const way = session.table.way(place);
  return way === ways.undecided || way === wayOfWhole(session);
}

/** Opens what is whole in one cache file. Null: it cannot be, and nothing was answered. */
function openWhole(session: Session, files: Files, asker: Asker, place: number, backing: Backing): Outcome | null {
  const { fileId, versionId } = backing;
  const { table, reply, counters, tell } = session;
  const sizeBytes = table.sizeBytes(place);
  counters.visit(versionId);
  if (session.mode === "copying") {
    const fd = files.backings.openFile(fileId, sizeBytes);
    if (fd < 0) return null;
    files.backings.hold(fileId, 1);
    return openHandle(session, files, asker, { place, fd, fileId, remote: null });
  }
  const id = files.backings.take(place, fileId, sizeBytes);
  if (id < 0) {
    table.keepFile(place, 0);
    if (id !== -errnos.ENOENT && id !== -errnos.ESTALE) {
      session.mode = "copying";
      const message = "the kernel does not read cache files by itself here: reads are copied, which is slower";
      tell({ kind: "warning", message, fields: { errno: -id } });
    }
    return null;
  }
  table.decide(place, ways.passthrough);
  table.addOpens(place, 1);
  reply.wide(0, 0);
  reply.word(8, openFlags.PASSTHROUGH | openFlags.NOFLUSH);
  reply.word(12, id);
  return answer(session, asker, sizes.openOut);
}

function openEmpty(session: Session, files: Files, asker: Asker, place: number): Outcome {
  return openHandle(session, files, asker, { place, fd: -1, fileId: 0, remote: null });
}

/** The page cache of such an inode stays: it never holds bytes of another version. */
function openHandle(session: Session, files: Files, asker: Asker, file: OpenFile): Outcome {
  const { table, reply } = session;
  table.decide(file.place, ways.copying);
  table.addOpens(file.place, 1);
  const handle = files.nextHandle++;
  files.open.set(handle, file);
  reply.wide(0, handle);
  reply.word(8, openFlags.KEEP_CACHE | openFlags.NOFLUSH);
  reply.word(12, 0);
  return answer(session, asker, sizes.openOut);
}

export function readFile(session: Session, files: Files): Outcome {
  const { request, table, reply, kernel } = session;
  const asker = askerOf(session);
  const file = files.open.get(request.wide(0));
  if (file === undefined || table.placeOf(request.nodeId) !== file.place) return fail(session, asker, errnos.EINVAL);
  const offset = request.wide(8);
  const left = table.sizeBytes(file.place) - offset;
  const length = Math.min(request.word(16), mountBounds.readBytesMax, Math.max(0, left));
  // Beyond the end there is nothing; an offset that is no number is beyond it.
  if (!(length > 0)) return answer(session, asker, 0);
  if (file.remote !== null) {
    const { uniqueLow, uniqueHigh } = asker;
    const { remote } = file;
    session.tell({ kind: "read", call: request.unique, uniqueLow, uniqueHigh, remote, offset, length });
    return "asked";
  }
  let got = 0;
  while (got < length) {
    const count = kernel.read(file.fd, reply.buffer, sizes.outHeader + got, length - got, offset + got);
    if (count === -errnos.EINTR) continue;
    if (count < 0) return fail(session, asker, errnos.EIO);
    if (count === 0) break;
    got += count;
  }
  // A cache file never shrinks: what is missing is not zeros, it is damage.
  if (got < length) return fail(session, asker, errnos.EIO);
  return answer(session, asker, got);
}

export function releaseFile(session: Session, files: Files): Outcome {
  const { request, table, kernel } = session;
  const asker = askerOf(session);
  const handle = request.wide(0);
  const file = files.open.get(handle);
  const place = file?.place ?? table.placeOf(request.nodeId);
  if (file !== undefined) {
    files.open.delete(handle);
    if (file.remote !== null) session.tell({ kind: "close", remote: file.remote });
    if (file.fd >= 0) {
      kernel.closeFile(file.fd);
      files.backings.hold(file.fileId, -1);
    }
  }
  if (place !== NOWHERE && table.isUsed(place) && table.addOpens(place, -1) === 0) files.backings.idle(place);
  return answer(session, asker, 0);
}
