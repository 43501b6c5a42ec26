/**
 * Cache files that the kernel reads by itself, one id for each inode that has one. An id outlives the open files, so
 * that the next open costs no more than its answer; it is let go when the inode is forgotten, the cache file was
 * unlinked, or too many are idle.
 */
import { filePath } from "../flash/files.ts";
import { mountBounds } from "./bounds.ts";
import { errnos } from "./protocol.ts";
import type { Session } from "./session.ts";

interface Backing {
  readonly id: number;
  readonly fileId: number;
}

/** Somebody waits until files are open nowhere. */
interface Waiter {
  readonly number: number;
  readonly fileIds: Set<number>;
}

/** How many idle ones go at a time. */
const TRIM = 64;

export class Backings {
  readonly #session: Session;
  readonly #byPlace = new Map<number, Backing>();
  readonly #placeOf = new Map<number, number>();
  /** Files that were unlinked while open here. */
  readonly #doomed = new Set<number>();
  /** How often this thread has a file open. */
  readonly #held = new Map<number, number>();
  readonly #waiters = new Set<Waiter>();

  constructor(session: Session) {
    this.#session = session;
  }

  get size(): number {
    return this.#byPlace.size;
  }

  /** The id for the inode at `place`, which is whole in file `fileId`; or a negative errno. */
  take(place: number, fileId: number, sizeBytes: number): number {
    const known = this.#byPlace.get(place);
    if (known !== undefined && known.fileId === fileId) return known.id;
    // Another file with the same bytes has taken its place: what is open goes on with the one it has.
    if (known !== undefined && this.#session.table.opens(place) > 0) return known.id;
    if (known !== undefined) this.drop(place);
    const { kernel } = this.#session;
    const fd = this.openFile(fileId, sizeBytes);
    if (fd < 0) return fd;
    const id = kernel.openBacking(fd);
    kernel.closeFile(fd);
    if (id <= 0) return id === 0 ? -errnos.EIO : id;
    this.#byPlace.set(place, { id, fileId });
    this.#placeOf.set(fileId, place);
    if (this.#byPlace.size > mountBounds.idleBackingsMax) this.#trim();
    return id;
  }

  has(place: number): boolean {
    return this.#byPlace.has(place);
  }

  /** The cache file itself, open; or a negative errno. ESTALE: it is not what it should be. */
  openFile(fileId: number, sizeBytes: number): number {
    const { kernel, init } = this.#session;
    const fd = kernel.openFile(`${init.filesRoot}/${filePath(fileId)}`);
    if (fd < 0) return fd;
    // What a kernel that reads by itself finds behind the end would be read, too.
    if (kernel.sizeOf(fd) === sizeBytes) return fd;
    kernel.closeFile(fd);
    return -errnos.ESTALE;
  }

  /** Counts the descriptors of a file on this thread. */
  hold(fileId: number, count: 1 | -1): void {
    const now = (this.#held.get(fileId) ?? 0) + count;
    if (now > 0) this.#held.set(fileId, now);
    else {
      this.#held.delete(fileId);
      this.#tellGone(fileId);
    }
  }

  /** The last open file of an inode was closed. */
  idle(place: number): void {
    const backing = this.#byPlace.get(place);
    if (backing !== undefined && this.#doomed.has(backing.fileId)) this.drop(place);
  }

  /** The inode needs it no more. */
  drop(place: number): void {
    const backing = this.#byPlace.get(place);
    if (backing === undefined) return;
    this.#byPlace.delete(place);
    if (this.#placeOf.get(backing.fileId) === place) this.#placeOf.delete(backing.fileId);
    this.#session.kernel.closeBacking(backing.id);
    this.#tellGone(backing.fileId);
  }

  /** Files were unlinked: says so with `let-go` when nothing has them open. */
  evicted(number: number, fileIds: readonly number[]): void {
    const { table } = this.#session;
    const waiter: Waiter = { number, fileIds: new Set() };
    for (const fileId of fileIds) {
      const place = this.#placeOf.get(fileId);
      if (place !== undefined && table.opens(place) === 0) this.drop(place);
      if (this.#placeOf.has(fileId) || this.#held.has(fileId)) {
        this.#doomed.add(fileId);
        waiter.fileIds.add(fileId);
      }
    }
    if (waiter.fileIds.size === 0) this.#session.tell({ kind: "let-go", number });
    else this.#waiters.add(waiter);
  }

  /** Files may have been unlinked unheard: what is idle goes. */
  dropIdle(): void {
    for (const place of [...this.#byPlace.keys()]) if (this.#session.table.opens(place) === 0) this.drop(place);
  }

  #tellGone(fileId: number): void {
    if (!this.#doomed.has(fileId) || this.#placeOf.has(fileId) || this.#held.has(fileId)) return;
    this.#doomed.delete(fileId);
    for (const waiter of this.#waiters) {
      waiter.fileIds.delete(fileId);
      if (waiter.fileIds.size > 0) continue;
      this.#waiters.delete(waiter);
      this.#session.tell({ kind: "let-go", number: waiter.number });
    }
  }

  /** The oldest idle ones go; those in use go to the end of the row. */
  #trim(): void {
    const { table } = this.#session;
    let passed = 0;
    for (const [place, backing] of this.#byPlace) {
      if (++passed > TRIM) break;
      if (table.opens(place) === 0) this.drop(place);
      else {
        this.#byPlace.delete(place);
        this.#byPlace.set(place, backing);
      }
    }
  }
}
