/** Reading a body into memory at hand, whatever the body offers: memory is needed only once there are bytes for it. */
import type { BodyReader } from "./types.ts";

export interface IntoReader {
  /** Puts bytes at hand into `target[from, to)`: how many; 0: there are none, or none any more. Throws when broken. */
  take(target: Uint8Array, from: number, to: number): number;
  /** Resolves when bytes are at hand (true), or at the end (false). Rejects when the body breaks off. */
  ready(): Promise<boolean>;
}

/** `body` read that way only, from now on. */
export function readerInto(body: BodyReader): IntoReader {
  const take = body.takeInto?.bind(body);
  const ready = body.ready?.bind(body);
  if (take !== undefined && ready !== undefined && body.lengthBytes !== null) return { take, ready };
  let rest: Uint8Array = new Uint8Array(0);
  return {
    take: (target, from, to) => {
      const count = Math.min(rest.length, to - from);
      target.set(rest.subarray(0, count), from);
      rest = rest.subarray(count);
      return count;
    },
    ready: async () => {
      while (rest.length === 0) {
        const bytes = await body.read();
        if (bytes === null) return false;
        rest = bytes;
      }
      return true;
    },
  };
}
