/** The columns of the inode table: one number of each kind per place. */

type Column = Uint8Array | Uint16Array | Uint32Array | Float64Array;

export class InodeColumns {
  parent: Uint32Array;
  /** The next one of the same bucket; of free places the next free one. */
  next: Uint32Array;
  hash: Uint32Array;
  life: Uint32Array;
  nameAt: Uint32Array;
  lookups: Uint32Array;
  children: Uint32Array;
  opens: Uint32Array;
  inoLow: Uint32Array;
  inoHigh: Uint32Array;
  etagLow: Uint32Array;
  etagHigh: Uint32Array;
  slot: Uint32Array;
  sum: Uint32Array;
  size: Float64Array;
  mtime: Float64Array;
  freshUntil: Float64Array;
  /** The cache file that holds all of it; 0 when none is known. */
  file: Float64Array;
  nameLength: Uint16Array;
  flags: Uint8Array;

  constructor(places: number) {
    this.parent = new Uint32Array(places);
    this.next = new Uint32Array(places);
    this.hash = new Uint32Array(places);
    this.life = new Uint32Array(places);
    this.nameAt = new Uint32Array(places);
    this.lookups = new Uint32Array(places);
    this.children = new Uint32Array(places);
    this.opens = new Uint32Array(places);
    this.inoLow = new Uint32Array(places);
    this.inoHigh = new Uint32Array(places);
    this.etagLow = new Uint32Array(places);
    this.etagHigh = new Uint32Array(places);
    this.slot = new Uint32Array(places);
    this.sum = new Uint32Array(places);
    this.size = new Float64Array(places);
    this.mtime = new Float64Array(places);
    this.freshUntil = new Float64Array(places);
    this.file = new Float64Array(places);
    this.nameLength = new Uint16Array(places);
    this.flags = new Uint8Array(places);
  }

  get heldBytes(): number {
    const { parent, size, nameLength, flags } = this;
    const words = 14 * parent.byteLength;
    return words + 4 * size.byteLength + nameLength.byteLength + flags.byteLength;
  }

  /** Makes room for `places`, one column after the other. */
  grow(places: number): void {
    this.parent = grown(new Uint32Array(places), this.parent);
    this.next = grown(new Uint32Array(places), this.next);
    this.hash = grown(new Uint32Array(places), this.hash);
    this.life = grown(new Uint32Array(places), this.life);
    this.nameAt = grown(new Uint32Array(places), this.nameAt);
    this.lookups = grown(new Uint32Array(places), this.lookups);
    this.children = grown(new Uint32Array(places), this.children);
    this.opens = grown(new Uint32Array(places), this.opens);
    this.inoLow = grown(new Uint32Array(places), this.inoLow);
    this.inoHigh = grown(new Uint32Array(places), this.inoHigh);
    this.etagLow = grown(new Uint32Array(places), this.etagLow);
    this.etagHigh = grown(new Uint32Array(places), this.etagHigh);
    this.slot = grown(new Uint32Array(places), this.slot);
    this.sum = grown(new Uint32Array(places), this.sum);
    this.size = grown(new Float64Array(places), this.size);
    this.mtime = grown(new Float64Array(places), this.mtime);
    this.freshUntil = grown(new Float64Array(places), this.freshUntil);
    this.file = grown(new Float64Array(places), this.file);
    this.nameLength = grown(new Uint16Array(places), this.nameLength);
    this.flags = grown(new Uint8Array(places), this.flags);
  }
}

function grown<T extends Column>(into: T, old: Column): T {
  into.set(old);
  return into;
}
