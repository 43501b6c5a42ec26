/**
 * The decisions: may this read be answered from flash, is what flash holds still right, and if not, how does it get
 * right. The engine never speaks HTTP to a client; it takes a {@link ReadRequest} that the front has authenticated
 * and screened, and says what to do: serve these bytes under these headers, pass the lake's own answer on, or forward
 * the request unchanged. Whatever it is not sure of, it forwards.
 *
 * The path of a read: `read` (fresh and present? serve) → `resolve` (ask the lake once for everybody) → `fill`
 * (bring blocks to flash) → `body` (send what is there, wait for what is coming).
 */
import type { BodySource, ClientResponse, RawHeaders } from "../http/types.ts";
import type { BlobKey, Credential, Lake } from "../lake/types.ts";
import type { Policy } from "./policy.ts";

/** Which form of the lake's answer is wanted: their headers differ, so each is kept as the lake gave it. */
export type Form = "full" | "range" | "head";

/** Whether the caller was judged here (`yes`), or the lake has to be asked with the caller's own credential. */
export type Judgement =
  | { readonly kind: "yes" }
  | {
      readonly kind: "ask";
      /** Names the credential without revealing it (a keyed hash); verdicts are remembered under it. */
      readonly credentialId: string;
      /** Wall-clock end of the credential's life, if it says so. */
      readonly expiresAtMs: number | null;
      /** Whether the credential itself is narrower than a container: one yes then never covers the container. */
      readonly narrow: boolean;
    };

/** A read that the front has found to be one of those that flash may answer. */
export interface ReadRequest {
  readonly key: BlobKey;
  /** `key` as the index names it. */
  readonly indexKey: string;
  readonly lake: Lake;
  readonly policy: Policy;
  readonly form: Form;
  readonly apiVersion: string;
  /** First byte and last byte (inclusive; null to the end). Null for the whole blob. */
  readonly range: { readonly first: number; readonly last: number | null } | null;
  /** Whether the request's conditions hold for a version; anything but `holds` is forwarded. */
  readonly conditionsHold: ((headers: RawHeaders) => boolean) | null;
  readonly judgement: Judgement;
  /** The caller's own credential, for when Forebay has none or the caller must be judged by the lake. */
  readonly caller: Credential;
  readonly clientRequestId: string | undefined;
  /** Aborted when the client goes away. Read lazily: a hit never asks for it. */
  readonly signal: () => AbortSignal;
}

/** How a read was answered, as `x-forebay` says it. `dirty`: acknowledged here, and not in the lake yet. */
export type Temperature = "hit" | "miss" | "partial" | "dirty";

/** Bytes and headers to be sent under this engine's responsibility. */
export interface Serve {
  readonly kind: "serve";
  readonly temperature: Temperature;
  /** The lake's headers of this form, without framing and range. */
  readonly headers: RawHeaders;
  readonly first: number;
  /** Bytes of the body to be sent (0 for a HEAD or an empty blob). */
  readonly length: number;
  readonly sizeBytes: number;
  readonly body: BodySource | null;
}

export type ReadOutcome =
  | Serve
  /** Pass the request on unchanged. `why` goes to the log and the metrics. */
  | { readonly kind: "forward"; readonly why: string }
  /** The lake's answer to this very question: pass it on. */
  | { readonly kind: "answer"; readonly response: ClientResponse }
  /** The lake cannot be asked, and what flash holds may not be given any more. */
  | { readonly kind: "unavailable"; readonly why: string };
