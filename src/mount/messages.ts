/** What the two threads of a mount say to each other. Plain data. `call`: the kernel's own number of the request. */
import type { Attribute, Backing, CountersPlace, Found, FoundFile, Guess, ListedPage, ReadingMode } from "./types.ts";

/** What the FUSE thread begins with. */
export interface FrontInit {
  readonly device: number;
  /** Written when there is mail. */
  readonly event: number;
  readonly counters: CountersPlace;
  readonly filesRoot: string;
  readonly uid: number;
  readonly gid: number;
  readonly umask: number;
  readonly passthrough: boolean;
}

/** An opened version; `remote` names it at the back. */
export type OpenedThere = FoundFile & { readonly backing: Backing | null; readonly remote: number | null };

/** From the FUSE thread. */
export type ToBack =
  | { readonly kind: "look-up"; readonly call: number; readonly path: string; readonly guess: Guess }
  | { readonly kind: "list"; readonly call: number; readonly path: string; readonly from: string | null }
  | { readonly kind: "open"; readonly call: number; readonly path: string; readonly piecewise: boolean }
  | { readonly kind: "attributes"; readonly call: number; readonly path: string }
  /** Answered to the kernel by the back itself. */
  | {
      readonly kind: "read";
      readonly call: number;
      readonly uniqueLow: number;
      readonly uniqueHigh: number;
      readonly remote: number;
      readonly offset: number;
      readonly length: number;
    }
  | { readonly kind: "close"; readonly remote: number }
  /** Whoever waits for the call does not any more. */
  | { readonly kind: "interrupt"; readonly call: number }
  /** The kernel is to ask again what the name leads to. Answered with `expired`. */
  | { readonly kind: "expire"; readonly parentId: number; readonly name: Uint8Array }
  | { readonly kind: "let-go"; readonly number: number }
  /** The kernel has agreed. */
  | { readonly kind: "ready"; readonly mode: ReadingMode; readonly minor: number; readonly why: string | null }
  | { readonly kind: "warning"; readonly message: string; readonly fields: Record<string, string | number> }
  | { readonly kind: "ended"; readonly why: string };

export type Result =
  | { readonly kind: "found"; readonly found: Found | null }
  | { readonly kind: "listed"; readonly page: ListedPage }
  | { readonly kind: "opened"; readonly opened: OpenedThere | null }
  | { readonly kind: "attributes"; readonly attributes: readonly Attribute[] | null };

/** To the FUSE thread. */
export type ToFront =
  | { readonly kind: "answer"; readonly call: number; readonly result: Result }
  | { readonly kind: "failed"; readonly call: number; readonly errno: number }
  /** These files were unlinked: answered with `let-go` when nothing has them open. */
  | { readonly kind: "evicted"; readonly number: number; readonly fileIds: readonly number[] }
  | { readonly kind: "expired" }
  /** Nothing known is believed any more. */
  | { readonly kind: "forget-all" }
  | { readonly kind: "stop" };
