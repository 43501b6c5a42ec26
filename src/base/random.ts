/**
 * Seeded randomness (xoshiro128**, Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018).
 * Everything that needs chance takes a {@link Random}, so that a failing history replays from its seed.
 */

/** A stream of pseudo-random numbers, wholly determined by its seed. */
export interface Random {
  /** An integer in [0, 2^32). */
  uint32(): number;
  /** An integer in [0, bound). `bound` is in [1, 2^32]. */
  below(bound: number): number;
  /** True with probability `p`. */
  chance(p: number): boolean;
  /** One element of a list that is not empty. */
  pick<T>(items: readonly T[]): T;
  /** Fills `bytes` and returns it. */
  fill(bytes: Uint8Array): Uint8Array;
  /** A stream of its own, determined by this one. */
  fork(): Random;
}

/** The stream of `seed` (any integer; its low 32 bits count). */
export function seededRandom(seed: number): Random {
  let mix = seed >>> 0;
  // SplitMix32 spreads a small seed over the state.
  const next = (): number => {
    mix = (mix + 0x9e3779b9) >>> 0;
    let z = mix;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  };
  let [a, b, c, d] = [next(), next(), next(), next() | 1];
  const rotate = (x: number, k: number): number => (x << k) | (x >>> (32 - k));
  const uint32 = (): number => {
    const result = Math.imul(rotate(Math.imul(b, 5), 7), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = rotate(d, 11);
    return result;
  };
  const below = (bound: number): number => Math.floor((uint32() / 0x1_0000_0000) * bound);
  return {
    uint32,
    below,
    chance: (p) => uint32() / 0x1_0000_0000 < p,
    pick: (items) => {
      const item = items[below(items.length)];
      if (item === undefined) throw new RangeError("pick from an empty list");
      return item;
    },
    fill: (bytes) => {
      for (let i = 0; i < bytes.length; i++) bytes[i] = uint32() & 0xff;
      return bytes;
    },
    fork: () => seededRandom(uint32()),
  };
}
