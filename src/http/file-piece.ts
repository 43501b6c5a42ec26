/**
 * A piece of a file on its way to a socket: how far it was sent, how far it is in the page cache, and how far the disk
 * was told to read. Nothing here waits: a sender that waited for the disk would hold up everybody else.
 */
import { MIB } from "../base/limits.ts";
import { beginReading, isCached, sawRead, whenRead } from "../io/page-cache.ts";
import type { Segment } from "./types.ts";

/** What is looked for in the page cache at once; and what is waited for at once when it is not there. */
const CACHED_BYTES = 4 * MIB;
const BRING_BYTES = 1 * MIB;
/** How far ahead of a reader the disk reads, and the most that is begun in one step: finding memory for it takes time. */
const AHEAD_BYTES = 16 * MIB;
const BEGIN_BYTES = 2 * MIB;

/** The piece that a sender is at; -1 as its descriptor stands for none. */
export class FilePiece {
  fd = -1;
  at = 0;
  end = 0;
  /** Up to here the file was seen in the page cache. */
  cachedTo = 0;
  /** Up to here the disk was told to read; and how far it may be told to. */
  private begunTo = 0;
  private beginTo = 0;
  /** Of the piece before; it may be another file's by now, but only a hint hangs on it. */
  private lastFd = -1;

  start(segment: Segment & { readonly kind: "file" }): void {
    const goesOn = segment.fd === this.lastFd && segment.offset === this.end;
    this.fd = segment.fd;
    this.lastFd = segment.fd;
    this.at = segment.offset;
    this.end = segment.offset + segment.length;
    this.cachedTo = segment.offset;
    // Who reads one range after the other will want what follows this one.
    this.beginTo = goesOn ? this.end + AHEAD_BYTES : this.end;
    if (!goesOn) this.begunTo = segment.offset;
  }

  /** Moves {@link cachedTo} on. False: the bytes that follow have to come from the disk. */
  findCached(): boolean {
    if (this.at < this.cachedTo) return true;
    const isAhead = this.begunTo > this.at;
    const length = Math.min(this.end - this.at, isAhead ? BRING_BYTES : CACHED_BYTES);
    if (!isCached(this.fd, this.at, length)) return false;
    this.cachedTo = this.at + length;
    if (isAhead) this.readAhead();
    return true;
  }

  /** Has the next bytes brought from the disk; `isStill` says whether they are still wanted when they are there. */
  async bring(isStill: () => boolean): Promise<boolean> {
    const to = Math.min(this.end, this.at + BRING_BYTES);
    // Also what was begun before: memory pressure may have taken it away again.
    beginReading(this.fd, this.at, to - this.at);
    this.begunTo = Math.max(this.begunTo, to);
    this.readAhead();
    await whenRead(this.fd, to - 1);
    if (!isStill()) return false;
    sawRead(this.fd, to - 1);
    // What is away again by now, the kernel reads once more.
    this.cachedTo = to;
    return true;
  }

  /** Has the disk read a further stretch of what will be wanted. */
  private readAhead(): void {
    const from = this.begunTo;
    const to = Math.min(from + BEGIN_BYTES, this.at + AHEAD_BYTES, this.beginTo);
    // In steps worth a request to the device, except at the end.
    if (to <= from || (to < this.beginTo && to - from < BRING_BYTES)) return;
    beginReading(this.fd, from, to - from);
    this.begunTo = to;
  }
}
