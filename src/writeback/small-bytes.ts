/** Bytes of small pending blobs, kept in memory beside the journal: for their readers, and to stay warm afterwards. */
export interface SmallBytes {
  put(seq: number, bytes: Uint8Array): void;
  get(seq: number): Uint8Array | undefined;
  /** Forgets and returns them. */
  take(seq: number): Uint8Array | undefined;
}

/** Keeps at most `bytesMax`; the oldest go first. */
export function createSmallBytes(bytesMax: number): SmallBytes {
  const kept = new Map<number, Uint8Array>();
  let total = 0;
  const take = (seq: number): Uint8Array | undefined => {
    const bytes = kept.get(seq);
    if (bytes !== undefined) {
      kept.delete(seq);
      total -= bytes.length;
    }
    return bytes;
  };
  return {
    put: (seq, bytes) => {
      take(seq);
      kept.set(seq, bytes);
      total += bytes.length;
      for (const oldest of kept.keys()) {
        if (total <= bytesMax) break;
        take(oldest);
      }
    },
    get: (seq) => kept.get(seq),
    take,
  };
}
