/** Writes of a `write: back` path that the lake answers after all. */
import { type BodyReader, bytesSource, type Exchange } from "../http/types.ts";
import { forwardRequest } from "./forward.ts";
import type { Placed } from "./respond.ts";

/** Passes a write on, with the body as the client sends it, or with `body` in its place: what was taken in already. */
export function passWrite(placed: Placed, why: string, body: BodyReader | null = null): Promise<void> {
  if (body === null) return forwardRequest(placed, why);
  const { exchange } = placed;
  const passed: Exchange = {
    head: exchange.head,
    body,
    remoteAddress: exchange.remoteAddress,
    secure: exchange.secure,
    get signal() {
      return exchange.signal;
    },
    respond: (head, source, contentLength) => exchange.respond(head, source, contentLength),
  };
  return forwardRequest({ ...placed, exchange: passed }, why);
}

/** A body of bytes that were read whole. */
export function bodyOfBytes(bytes: Uint8Array): BodyReader {
  const source = bytesSource(bytes);
  return {
    lengthBytes: bytes.length,
    read: async () => {
      const piece = await source.next();
      return piece?.kind === "bytes" ? piece.bytes : null;
    },
    cancel: () => {},
  };
}
