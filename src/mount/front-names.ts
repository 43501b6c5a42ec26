/** LOOKUP, GETATTR and extended attributes: what a path leads to. */
import { mountBounds } from "./bounds.ts";
import { etagHash, NOWHERE } from "./inodes.ts";
import type { Result } from "./messages.ts";
import { errnos, sizes } from "./protocol.ts";
import { type Asker, answer, ask, askerOf, fail, isFresh, type Outcome, type Session, ttlMs } from "./session.ts";
import type { Attribute, Found } from "./types.ts";

const ATTRIBUTE_PREFIX = "user.forebay.";
const DOT = 46;

/** The path of a name below an inode. */
export function childPath(session: Session, parent: number, name: string): string {
  const path = session.table.path(parent);
  return path === "" ? name : `${path}/${name}`;
}

/**
 * The inode that `name` leads to now that `found` is known of it: the one there was if it is the same version, else a
 * new one.
 */
export function settle(session: Session, parent: number, name: Uint8Array, found: Found): number {
  const { table } = session;
  const known = table.find(parent, name, 0, name.length);
  const isFolder = found.kind === "folder";
  const stamp = isFolder ? { slot: 0, sum: 0 } : found.stamp;
  const [etagLow, etagHigh] = isFolder ? [0, 0] : etagHash(found.etag);
  const isSame =
    known !== NOWHERE &&
    (isFolder ? table.isFolder(known) : table.isVersion(known, etagLow, etagHigh, found.sizeBytes));
  if (isSame) {
    table.refresh(known, found.freshUntilMs, stamp);
    return known;
  }
  const [sizeBytes, mtimeMs] = isFolder ? [0, table.attributes(0).mtimeMs] : [found.sizeBytes, found.mtimeMs];
  const { freshUntilMs } = found;
  return table.add(parent, name, { isFolder, sizeBytes, mtimeMs, etagLow, etagHigh, freshUntilMs, stamp });
}

export function lookUp(session: Session): Outcome {
  const { request, table } = session;
  const asker = askerOf(session);
  const parent = table.placeOf(request.nodeId);
  if (parent === NOWHERE) return fail(session, asker, errnos.ESTALE);
  if (!table.isFolder(parent)) return fail(session, asker, errnos.ENOTDIR);
  const { bytes } = request.buffer;
  const { nameAt, nameLength } = request;
  if (nameLength > mountBounds.nameBytesMax) return fail(session, asker, errnos.ENAMETOOLONG);
  if (isDots(bytes, nameAt, nameLength)) return fail(session, asker, errnos.ENOENT);
  const known = table.find(parent, bytes, nameAt, nameLength);
  if (known !== NOWHERE && isFresh(session, known)) return answerEntry(session, asker, known);
  const guess = known === NOWHERE ? null : table.isFolder(known) ? "folder" : "file";
  const name = Buffer.from(bytes.subarray(nameAt, nameAt + nameLength));
  const path = childPath(session, parent, name.toString());
  if (Buffer.byteLength(path) > mountBounds.pathBytesMax) return fail(session, asker, errnos.ENAMETOOLONG);
  const parentId = request.nodeId;
  const then = (result: Result): void => void found(session, asker, parentId, name, result);
  return ask(session, asker, { kind: "look-up", call: request.unique, path, guess }, then, parent);
}

function isDots(bytes: Uint8Array, at: number, length: number): boolean {
  return (length === 1 && bytes[at] === DOT) || (length === 2 && bytes[at] === DOT && bytes[at + 1] === DOT);
}

function found(session: Session, asker: Asker, parentId: number, name: Uint8Array, result: Result): Outcome {
  const { table } = session;
  if (result.kind !== "found") return fail(session, asker, errnos.EIO);
  const parent = table.placeOf(parentId);
  if (parent === NOWHERE) return fail(session, asker, errnos.ESTALE);
  if (result.found === null) {
    const known = table.find(parent, name, 0, name.length);
    if (known !== NOWHERE) table.unname(known);
    return fail(session, asker, errnos.ENOENT);
  }
  return answerEntry(session, asker, settle(session, parent, name, result.found));
}

function answerEntry(session: Session, asker: Asker, place: number): Outcome {
  const { table, reply } = session;
  table.refer(place);
  reply.entry(0, table.idOf(place), table.attributes(place), ttlMs(session, place));
  return answer(session, asker, sizes.entryOut);
}

/** What is known of the inode's own version: it does not change. What its path leads to, a LOOKUP says. */
export function getAttributes(session: Session): Outcome {
  const { request, table, reply } = session;
  const asker = askerOf(session);
  const place = table.placeOf(request.nodeId);
  if (place === NOWHERE) return fail(session, asker, errnos.ESTALE);
  reply.attrOut(0, table.attributes(place), Math.max(ttlMs(session, place), table.isNamed(place) ? 0 : 1_000));
  return answer(session, asker, sizes.attrOut);
}

export function getExtended(session: Session): Outcome {
  const { request, table } = session;
  const asker = askerOf(session);
  const place = table.placeOf(request.nodeId);
  if (place === NOWHERE) return fail(session, asker, errnos.ESTALE);
  const name = request.name();
  if (table.isFolder(place) || !name.startsWith(ATTRIBUTE_PREFIX)) return fail(session, asker, errnos.ENODATA);
  const sizeBytes = request.word(0);
  return ask(session, asker, { kind: "attributes", call: request.unique, path: table.path(place) }, (result) => {
    const value = attributesOf(result)?.find(([known]) => known === name)?.[1];
    if (value === undefined) fail(session, asker, errnos.ENODATA);
    else answerText(session, asker, Buffer.from(value), sizeBytes);
  });
}

export function listExtended(session: Session): Outcome {
  const { request, table } = session;
  const asker = askerOf(session);
  const place = table.placeOf(request.nodeId);
  if (place === NOWHERE) return fail(session, asker, errnos.ESTALE);
  const sizeBytes = request.word(0);
  if (table.isFolder(place)) return answerText(session, asker, Buffer.alloc(0), sizeBytes);
  return ask(session, asker, { kind: "attributes", call: request.unique, path: table.path(place) }, (result) => {
    const names = (attributesOf(result) ?? []).map(([name]) => `${name}\0`).join("");
    answerText(session, asker, Buffer.from(names), sizeBytes);
  });
}

function attributesOf(result: Result): readonly Attribute[] | null {
  return result.kind === "attributes" ? result.attributes : null;
}

/** The length of a text where nothing else was asked for, else the text, if it fits. */
function answerText(session: Session, asker: Asker, text: Uint8Array, sizeBytes: number): Outcome {
  const { reply } = session;
  if (sizeBytes === 0) {
    reply.word(0, text.length);
    reply.word(4, 0);
    return answer(session, asker, sizes.xattrOut);
  }
  if (text.length > sizeBytes || text.length > mountBounds.readBytesMax) return fail(session, asker, errnos.ERANGE);
  reply.text(0, text);
  return answer(session, asker, text.length);
}
