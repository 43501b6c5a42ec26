/** What a transfer on a socket is told and tells, and how it fails. */
import { ForebayError } from "../base/errors.ts";

/** How the end of the body is shown to the peer. `length`: exactly `lengthBytes` follow. */
export type SendFraming =
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

/** What a sender tells its connection. */
export interface SenderHost {
  /** Bytes went out: the connection is alive. */
  sentSome(): void;
  /** The message is with the kernel (null), or cannot be completed. Called once for each {@link Sender.start}. */
  sendEnded(error: unknown): void;
}

/** The body cannot be completed as announced. Code `gone`. */
export const brokenBody = (what: string): ForebayError => new ForebayError("gone", what);

/** The other end took no more bytes because it is gone. Code `cancelled`. */
export class PeerGone extends ForebayError {
  constructor(errno: number) {
    super("cancelled", errno === 0 ? "the peer is gone" : `the peer is gone (errno ${errno})`);
  }
}
