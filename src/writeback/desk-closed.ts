/** The desk of a Forebay that writes nothing back: nothing is pending, and only what goes through may be kept warm. */

import { asForebayError } from "../base/errors.ts";
import type { Staging } from "../flash/types.ts";
import type { WriteDesk, Written } from "./types.ts";

const REFUSED: Extract<Written, { kind: "refused" }> = { kind: "refused", why: "unavailable" };

/** `staging` takes in what is kept warm. */
export function createClosedDesk(staging: Staging): WriteDesk {
  return {
    reserve: async (holder, bytes) => {
      try {
        return { kind: "file", fileId: await staging.reserve(holder, bytes) };
      } catch (error) {
        const { code } = asForebayError(error);
        return { kind: "refused", why: code === "flash-full" ? "no-room" : "unavailable" };
      }
    },
    giveBack: async (holder, fileIds) => staging.giveBack(holder, fileIds),
    stage: async () => REFUSED,
    write: async () => REFUSED,
    latest: async () => null,
    inline: async () => null,
    names: async () => [],
    alias: async () => null,
    blocks: async () => [],
    // Nothing is held back, because nothing is taken in.
    fence: async () => 0,
    unfence: async () => {},
    flush: async () => {},
    adopt: (_holder, adoption) => staging.adopt(adoption),
    warmBegin: (...args) => staging.warm.begin(...args),
    warmEnd: (...args) => staging.warm.end(...args),
  };
}
