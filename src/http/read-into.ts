/** Reading a body into memory at hand, whatever the body offers. */
import type { BodyReader } from "./types.ts";

/** Puts the next bytes of a body into `target[from, to)`: how many, at least one, or 0 at the end. */
export type ReadInto = (target: Uint8Array, from: number, to: number) => number | Promise<number>;

/** `body` read that way only, from now on. */
export function readerInto(body: BodyReader): ReadInto {
  const own = body.readInto?.bind(body);
  if (own !== undefined && body.lengthBytes !== null) return own;
  let rest: Uint8Array = new Uint8Array(0);
  return async (target, from, to) => {
    while (rest.length === 0) {
      const bytes = await body.read();
      if (bytes === null) return 0;
      rest = bytes;
    }
    const count = Math.min(rest.length, to - from);
    target.set(rest.subarray(0, count), from);
    rest = rest.subarray(count);
    return count;
  };
}
