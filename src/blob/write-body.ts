/** A write's body in memory: small blobs and lists of blocks. */
import { ForebayError } from "../base/errors.ts";
import { readerInto } from "../http/read-into.ts";
import type { Write } from "./write-commit.ts";

/**
 * Reads the body whole and runs `use` with it. Null, with nothing of the body used, when bodies hold too much memory
 * already. Rejects as the body does, and as `use` does.
 */
export async function withBody(write: Write, use: (bytes: Uint8Array) => Promise<void>): Promise<"used" | "no-room"> {
  const { asked, means, placed } = write;
  if (!means.hold(asked.lengthBytes)) return "no-room";
  try {
    const bytes = new Uint8Array(asked.lengthBytes);
    const body = readerInto(placed.exchange.body);
    for (let at = 0; at < bytes.length; ) {
      const count = body.take(bytes, at, bytes.length);
      at += count;
      if (count === 0 && !(await body.ready())) {
        throw new ForebayError("cancelled", "the body ended before its length");
      }
    }
    await use(bytes);
    return "used";
  } finally {
    means.release(asked.lengthBytes);
  }
}
