/**
 * The inodes that the kernel knows: columns of numbers, about 150 bytes each with an average name, because there may be
 * millions. An inode is one version of one file, read in one way; a name leads to the newest one of its path, older
 * ones live on, unnamed, until the kernel forgets them.
 *
 * A node id is `place + 1 + life · 2^32`: a place that is used again has another id. The root is node 1.
 */
import { assert } from "../base/assert.ts";
import { InodeColumns } from "./inode-columns.ts";
import { NameStore } from "./names.ts";
import { ROOT_ID } from "./protocol.ts";
import type { NodeAttributes } from "./replies.ts";
import type { Stamp } from "./types.ts";

const HIGH_WORD = 0x1_0000_0000;
const LIVES_MAX = 1 << 20;
const FIRST_PLACES = 1024;
export const NOWHERE = -1;
const NONE = 0xffff_ffff;

/** How an inode's bytes are read, for all its life: decided when it is first opened. */
export const ways = { undecided: 0, passthrough: 1, copying: 2 } as const;
export type Way = (typeof ways)[keyof typeof ways];

const IS_FOLDER = 1;
const IS_NAMED = 2;
const IS_USED = 4;
const IS_NOTICED = 8;
const WAY_SHIFT = 4;

/** What a new inode is made of. */
export interface NewNode {
  readonly isFolder: boolean;
  readonly sizeBytes: number;
  readonly mtimeMs: number;
  /** 64 bits that stand for the ETag. */
  readonly etagLow: number;
  readonly etagHigh: number;
  readonly freshUntilMs: number;
  readonly stamp: Stamp;
}

/** 64 bits of `bytes`, that depend on `seed`. */
export function hashOf(bytes: Uint8Array, seed: bigint): readonly [low: number, high: number] {
  const hash = Bun.hash.xxHash64(bytes, seed);
  return [Number(hash & 0xffff_ffffn), Number(hash >> 32n)];
}

/** The 64 bits that stand for an ETag. */
export function etagHash(etag: string): readonly [low: number, high: number] {
  return hashOf(Buffer.from(etag), 0n);
}

export class InodeTable {
  #places = FIRST_PLACES;
  #end = 1;
  #free = NONE;
  #count = 1;
  readonly #in = new InodeColumns(FIRST_PLACES);
  #buckets = new Uint32Array(FIRST_PLACES).fill(NONE);
  readonly #names = new NameStore();
  readonly #forgotten: (place: number) => void;

  /** `forgotten` hears of a place just before it is free. */
  constructor(forgotten: (place: number) => void, rootMtimeMs: number) {
    this.#forgotten = forgotten;
    this.#in.flags[0] = IS_FOLDER | IS_USED;
    this.#in.lookups[0] = 1;
    this.#in.inoLow[0] = ROOT_ID;
    this.#in.mtime[0] = rootMtimeMs;
    this.#in.freshUntil[0] = Number.POSITIVE_INFINITY;
  }

  /** Inodes that the kernel knows, the root included. */
  get count(): number {
    return this.#count;
  }

  /** One past the highest place in use. */
  get end(): number {
    return this.#end;
  }

  /** Memory taken. */
  get heldBytes(): number {
    return this.#in.heldBytes + this.#buckets.byteLength + this.#names.heldBytes;
  }

  /** The place of a node id, or {@link NOWHERE} when the kernel should not know it. */
  placeOf(nodeId: number): number {
    const place = (nodeId % HIGH_WORD) - 1;
    if (!(place >= 0 && place < this.#end) || !this.#has(place, IS_USED)) return NOWHERE;
    return this.idOf(place) === nodeId ? place : NOWHERE;
  }

  idOf(place: number): number {
    return place + 1 + (this.#in.life[place] as number) * HIGH_WORD;
  }

  isUsed(place: number): boolean {
    return this.#has(place, IS_USED);
  }

  isFolder(place: number): boolean {
    return this.#has(place, IS_FOLDER);
  }

  /** Whether its path leads to it. */
  isNamed(place: number): boolean {
    return place === 0 || this.#has(place, IS_NAMED);
  }

  /** The place that bytes [from, from + length) of `source` lead to below `parent`. */
  find(parent: number, source: Uint8Array, from: number, length: number): number {
    const hash = hashName(parent, source, from, length);
    let place = this.#buckets[hash & (this.#buckets.length - 1)] as number;
    while (place !== NONE) {
      if (
        this.#in.hash[place] === hash &&
        this.#in.parent[place] === parent &&
        this.#in.nameLength[place] === length &&
        this.#names.equals(this.#in.nameAt[place] as number, length, source, from)
      ) {
        return place;
      }
      place = this.#in.next[place] as number;
    }
    return NOWHERE;
  }

  /** Makes an inode that `name` leads to from now on. The kernel does not know it until {@link refer}. */
  add(parent: number, name: Uint8Array, node: NewNode): number {
    const known = this.find(parent, name, 0, name.length);
    if (known !== NOWHERE) this.unname(known);
    const place = this.#takePlace();
    this.#in.nameAt[place] = this.#names.add(name, 0, name.length, this.#relocate);
    this.#in.nameLength[place] = name.length;
    this.#in.parent[place] = parent;
    this.#in.children[parent] = (this.#in.children[parent] as number) + 1;
    this.#in.flags[place] = IS_USED | IS_NAMED | (node.isFolder ? IS_FOLDER : 0);
    this.#in.lookups[place] = 0;
    this.#in.children[place] = 0;
    this.#in.opens[place] = 0;
    this.#in.file[place] = 0;
    const [low, high] = this.childIno(parent, name);
    this.#in.inoLow[place] = low;
    this.#in.inoHigh[place] = high;
    this.#in.size[place] = node.sizeBytes;
    this.#in.mtime[place] = node.mtimeMs;
    this.#in.etagLow[place] = node.etagLow;
    this.#in.etagHigh[place] = node.etagHigh;
    this.refresh(place, node.freshUntilMs, node.stamp);
    this.#in.hash[place] = hashName(parent, name, 0, name.length);
    this.#link(place);
    this.#count++;
    return place;
  }

  /** The inode number of a path: the same for all its versions, and in every mount. Never 0. */
  childIno(parent: number, name: Uint8Array): readonly [low: number, high: number] {
    const seed = (BigInt(this.#in.inoHigh[parent] as number) << 32n) | BigInt(this.#in.inoLow[parent] as number);
    const [low, high] = hashOf(name, seed);
    return low === 0 && high === 0 ? [2, 0] : [low, high];
  }

  /** The path leads to it no more; who has it keeps it. */
  unname(place: number): void {
    if (!this.#has(place, IS_NAMED)) return;
    this.#unlink(place);
    this.#in.flags[place] = (this.#in.flags[place] as number) & ~IS_NAMED;
    this.#freeIfUnused(place);
  }

  /** The kernel was given it once more. */
  refer(place: number): void {
    this.#in.lookups[place] = (this.#in.lookups[place] as number) + 1;
  }

  /** The kernel forgets it `times` times. The root is never forgotten. */
  forget(place: number, times: number): void {
    if (place === 0) return;
    this.#in.lookups[place] = Math.max(0, (this.#in.lookups[place] as number) - times);
    this.#freeIfUnused(place);
  }

  /** Whether it is still what its path was found to be, as of then. */
  isVersion(place: number, etagLow: number, etagHigh: number, sizeBytes: number): boolean {
    return (
      !this.isFolder(place) &&
      this.#in.etagLow[place] === etagLow &&
      this.#in.etagHigh[place] === etagHigh &&
      this.#in.size[place] === sizeBytes
    );
  }

  /** Its path leads to another version, and nobody has seen a byte of the one that it stood for. */
  become(place: number, etagLow: number, etagHigh: number, mtimeMs: number): void {
    assert(this.way(place) === ways.undecided, "an inode that was read keeps its version");
    this.#in.etagLow[place] = etagLow;
    this.#in.etagHigh[place] = etagHigh;
    this.#in.mtime[place] = mtimeMs;
    this.#in.file[place] = 0;
  }

  /** The cache file that holds all of it, and has the number of its version; 0: none is known. */
  keepFile(place: number, fileId: number): void {
    this.#in.file[place] = fileId;
  }

  fileOf(place: number): number {
    return this.#in.file[place] as number;
  }

  /** It was just found to be right. */
  refresh(place: number, freshUntilMs: number, stamp: Stamp): void {
    this.#in.freshUntil[place] = freshUntilMs;
    this.#in.slot[place] = stamp.slot;
    this.#in.sum[place] = stamp.sum >>> 0;
    this.#in.flags[place] = (this.#in.flags[place] as number) & ~IS_NOTICED;
  }

  freshUntilMs(place: number): number {
    return this.#in.freshUntil[place] as number;
  }

  slotOf(place: number): number {
    return this.#in.slot[place] as number;
  }

  sumOf(place: number): number {
    return this.#in.sum[place] as number;
  }

  /** The kernel was told to ask again: it is not told twice. */
  notice(place: number): void {
    this.#in.freshUntil[place] = Number.NEGATIVE_INFINITY;
    this.#in.flags[place] = (this.#in.flags[place] as number) | IS_NOTICED;
  }

  isNoticed(place: number): boolean {
    return this.#has(place, IS_NOTICED);
  }

  way(place: number): Way {
    return ((this.#in.flags[place] as number) >> WAY_SHIFT) as Way;
  }

  decide(place: number, way: Way): void {
    assert(this.way(place) === ways.undecided || this.way(place) === way, "an inode is read in one way");
    this.#in.flags[place] = ((this.#in.flags[place] as number) & ((1 << WAY_SHIFT) - 1)) | (way << WAY_SHIFT);
  }

  opens(place: number): number {
    return this.#in.opens[place] as number;
  }

  /** One open file more or less. How many there are now. */
  addOpens(place: number, count: 1 | -1): number {
    const now = Math.max(0, (this.#in.opens[place] as number) + count);
    this.#in.opens[place] = now;
    return now;
  }

  attributes(place: number): NodeAttributes {
    return {
      inoLow: this.#in.inoLow[place] as number,
      inoHigh: this.#in.inoHigh[place] as number,
      isFolder: this.isFolder(place),
      sizeBytes: this.#in.size[place] as number,
      mtimeMs: this.#in.mtime[place] as number,
    };
  }

  sizeBytes(place: number): number {
    return this.#in.size[place] as number;
  }

  parentOf(place: number): number {
    return this.#in.parent[place] as number;
  }

  nameOf(place: number): Uint8Array {
    return this.#names.copy(this.#in.nameAt[place] as number, this.#in.nameLength[place] as number);
  }

  /** The path below the root, without a leading `/`. */
  path(place: number): string {
    const parts: string[] = [];
    for (let at = place; at !== 0; at = this.#in.parent[at] as number) {
      parts.push(this.#names.text(this.#in.nameAt[at] as number, this.#in.nameLength[at] as number));
    }
    return parts.reverse().join("/");
  }

  #has(place: number, flag: number): boolean {
    return ((this.#in.flags[place] as number) & flag) !== 0;
  }

  #freeIfUnused(place: number): void {
    const inUse = (this.#in.lookups[place] as number) > 0 || (this.#in.children[place] as number) > 0;
    if (place === 0 || inUse || !this.#has(place, IS_USED)) return;
    this.#forgotten(place);
    if (this.#has(place, IS_NAMED)) this.#unlink(place);
    this.#names.remove(this.#in.nameLength[place] as number);
    this.#in.flags[place] = 0;
    this.#in.life[place] = ((this.#in.life[place] as number) + 1) % LIVES_MAX;
    this.#in.next[place] = this.#free;
    this.#free = place;
    this.#count--;
    const parent = this.#in.parent[place] as number;
    this.#in.children[parent] = (this.#in.children[parent] as number) - 1;
    this.#freeIfUnused(parent);
  }

  #takePlace(): number {
    if (this.#free !== NONE) {
      const place = this.#free;
      this.#free = this.#in.next[place] as number;
      return place;
    }
    if (this.#end === this.#places) this.#grow();
    return this.#end++;
  }

  #link(place: number): void {
    const bucket = (this.#in.hash[place] as number) & (this.#buckets.length - 1);
    this.#in.next[place] = this.#buckets[bucket] as number;
    this.#buckets[bucket] = place;
  }

  #unlink(place: number): void {
    const bucket = (this.#in.hash[place] as number) & (this.#buckets.length - 1);
    const next = this.#in.next[place] as number;
    let at = this.#buckets[bucket] as number;
    if (at === place) {
      this.#buckets[bucket] = next;
      return;
    }
    while (this.#in.next[at] !== place) {
      at = this.#in.next[at] as number;
      assert(at !== NONE, "a named inode is in its bucket");
    }
    this.#in.next[at] = next;
  }

  readonly #relocate = (move: (at: number, length: number) => number): void => {
    for (let place = 1; place < this.#end; place++) {
      if (this.#has(place, IS_USED)) {
        this.#in.nameAt[place] = move(this.#in.nameAt[place] as number, this.#in.nameLength[place] as number);
      }
    }
  };

  #grow(): void {
    // Half as much again: doubling would leave up to half of a large table empty.
    this.#places = Math.ceil(this.#places * 1.5);
    this.#in.grow(this.#places);
    this.#buckets = new Uint32Array(2 ** Math.floor(Math.log2(this.#places))).fill(NONE);
    for (let place = 1; place < this.#end; place++) if (this.#has(place, IS_NAMED)) this.#link(place);
  }
}

/** FNV-1a over the parent's place and the bytes of the name. */
function hashName(parent: number, source: Uint8Array, from: number, length: number): number {
  let hash = Math.imul(0x811c9dc5 ^ parent, 0x01000193);
  for (let i = from; i < from + length; i++) hash = Math.imul(hash ^ (source[i] as number), 0x01000193);
  // The lower bits decide the bucket: they should depend on all of it.
  return (hash ^ (hash >>> 15)) >>> 0;
}
