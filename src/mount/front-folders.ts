/**
 * OPENDIR, READDIR, READDIRPLUS: a folder is read page by page, as the lake lists it, and only the page at hand is kept.
 * Position 0 is `.`, 1 is `..`, the first name is 2; a position says where the next read goes on.
 */
import { mountBounds } from "./bounds.ts";
import { settle } from "./front-names.ts";
import { NOWHERE } from "./inodes.ts";
import type { Result } from "./messages.ts";
import { DIRENT_FILE, DIRENT_FOLDER, errnos, opcodes, sizes } from "./protocol.ts";
import { type Asker, answer, ask, askerOf, fail, isFresh, type Outcome, type Session, ttlMs } from "./session.ts";
import type { Listed } from "./types.ts";

const DOTS = 2;

interface Page {
  readonly start: number;
  readonly from: string | null;
}

/** An open folder. */
export interface OpenFolder {
  readonly place: number;
  /** Where the pages read so far begin, in order. */
  readonly pages: Page[];
  /** The page at hand: which one, its names, and whether another one follows. */
  at: number;
  entries: readonly Listed[];
  next: string | null;
  loaded: boolean;
}

export interface Folders {
  readonly open: Map<number, OpenFolder>;
  nextHandle: number;
}

export function createFolders(): Folders {
  return { open: new Map(), nextHandle: 1 };
}

export function openFolder(session: Session, folders: Folders): Outcome {
  const { request, table, reply } = session;
  const asker = askerOf(session);
  const place = table.placeOf(request.nodeId);
  if (place === NOWHERE) return fail(session, asker, errnos.ESTALE);
  if (!table.isFolder(place)) return fail(session, asker, errnos.ENOTDIR);
  if (folders.open.size >= mountBounds.openHandlesMax) return fail(session, asker, errnos.ENFILE);
  const handle = folders.nextHandle++;
  folders.open.set(handle, {
    place,
    pages: [{ start: 0, from: null }],
    at: 0,
    entries: [],
    next: null,
    loaded: false,
  });
  reply.wide(0, handle);
  reply.word(8, 0);
  reply.word(12, 0);
  return answer(session, asker, sizes.openOut);
}

export function releaseFolder(session: Session, folders: Folders): Outcome {
  folders.open.delete(session.request.wide(0));
  return answer(session, askerOf(session), 0);
}

interface Reading {
  readonly asker: Asker;
  readonly call: number;
  readonly folder: OpenFolder;
  readonly parentId: number;
  readonly position: number;
  readonly sizeBytes: number;
  readonly plus: boolean;
}

export function readFolder(session: Session, folders: Folders): Outcome {
  const { request, table } = session;
  const asker = askerOf(session);
  const folder = folders.open.get(request.wide(0));
  const position = request.wide(8);
  if (folder === undefined || table.placeOf(request.nodeId) !== folder.place)
    return fail(session, asker, errnos.EINVAL);
  if (Number.isNaN(position)) return fail(session, asker, errnos.EINVAL);
  const sizeBytes = Math.min(request.word(16), mountBounds.readBytesMax);
  const plus = request.opcode === opcodes.READDIRPLUS;
  // Whoever begins anew wants to see the folder as it is.
  if (position === 0 && folder.loaded) {
    folder.pages.length = 1;
    folder.loaded = false;
  }
  const parentId = request.nodeId;
  return proceed(session, { asker, call: request.unique, folder, parentId, position, sizeBytes, plus });
}

/** Answers from the page at hand, or has the right one brought first. */
function proceed(session: Session, reading: Reading): Outcome {
  const { folder } = reading;
  const index = Math.max(0, reading.position - DOTS);
  const start = folder.pages[folder.at]?.start ?? 0;
  if (!folder.loaded) return load(session, reading, pageOf(folder, index));
  if (index < start) return load(session, reading, pageOf(folder, index));
  if (index < start + folder.entries.length || folder.next === null) return give(session, reading, start);
  if (folder.pages.length >= mountBounds.listPagesRememberedMax) return fail(session, reading.asker, errnos.ENOMEM);
  if (folder.pages.length === folder.at + 1) {
    folder.pages.push({ start: start + folder.entries.length, from: folder.next });
  }
  return load(session, reading, folder.at + 1);
}

/** The last known page that begins at or before name `index`. */
function pageOf({ pages }: OpenFolder, index: number): number {
  let at = pages.length - 1;
  while (at > 0 && (pages[at]?.start ?? 0) > index) at--;
  return at;
}

function load(session: Session, reading: Reading, page: number): Outcome {
  const { folder } = reading;
  const from = folder.pages[page]?.from ?? null;
  const path = session.table.path(folder.place);
  const then = (result: Result): void => {
    if (result.kind !== "listed") {
      fail(session, reading.asker, errnos.EIO);
      return;
    }
    folder.at = page;
    folder.entries = result.page.entries;
    folder.next = result.page.next;
    folder.loaded = true;
    proceed(session, reading);
  };
  return ask(session, reading.asker, { kind: "list", call: reading.call, path, from }, then, folder.place);
}

/** Puts as many names as fit into the answer; none: the end. */
function give(session: Session, reading: Reading, start: number): Outcome {
  const { folder, sizeBytes, position, plus } = reading;
  const { table } = session;
  if (table.placeOf(reading.parentId) !== folder.place) return fail(session, reading.asker, errnos.ESTALE);
  let at = 0;
  for (let next = position; next < DOTS; next++) {
    const place = next === 0 ? folder.place : table.parentOf(folder.place);
    const end = putName(session, at, sizeBytes, next === 0 ? "." : "..", place, next + 1, plus);
    if (end === null) return answer(session, reading.asker, at);
    at = end;
  }
  for (let index = Math.max(0, position - DOTS); index < start + folder.entries.length; index++) {
    const entry = folder.entries[index - start];
    if (entry === undefined) break;
    const end = putEntry(session, at, sizeBytes, folder.place, entry, index + DOTS + 1, plus);
    if (end === null) break;
    at = end;
  }
  return answer(session, reading.asker, at);
}

function putName(
  { reply, table }: Session,
  at: number,
  sizeBytes: number,
  name: string,
  place: number,
  offset: number,
  plus: boolean,
): number | null {
  const { inoLow, inoHigh } = table.attributes(place);
  const dirent = { bytes: Buffer.from(name), inoLow, inoHigh, offset, type: DIRENT_FOLDER };
  const end = reply.dirent(at, sizeBytes, dirent, plus);
  if (end !== null && plus) reply.clear(at, sizes.entryOut);
  return end;
}

function putEntry(
  session: Session,
  at: number,
  sizeBytes: number,
  parent: number,
  entry: Listed,
  offset: number,
  plus: boolean,
): number | null {
  const { reply, table } = session;
  const bytes = Buffer.from(entry.name);
  const [inoLow, inoHigh] = table.childIno(parent, bytes);
  const type = entry.kind === "folder" ? DIRENT_FOLDER : DIRENT_FILE;
  const end = reply.dirent(at, sizeBytes, { bytes, inoLow, inoHigh, offset, type }, plus);
  if (end === null || !plus) return end;
  const place = settleListed(session, parent, bytes, entry);
  table.refer(place);
  reply.entry(at, table.idOf(place), table.attributes(place), ttlMs(session, place));
  return end;
}

/**
 * A list may be older than what is known of one of its names, and its stamp is only taken when it is here: it neither
 * replaces what is fresh, nor does it say that a cache file may be opened without asking.
 */
function settleListed(session: Session, parent: number, name: Uint8Array, entry: Listed): number {
  const { table } = session;
  const known = table.find(parent, name, 0, name.length);
  if (known !== NOWHERE && isFresh(session, known)) return known;
  const place = settle(session, parent, name, entry);
  table.keepFile(place, 0);
  return place;
}
