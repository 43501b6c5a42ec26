/** A case: one thing that a client may do, in any number of requests. */
import type { CaseContext } from "./context.ts";

/** What a case needs: https at both ends, or a real account because Azurite does not do it as the service does. */
export type CaseNeed = "https" | "real-lake";

/** One conformance case. It is run twice in a row at each endpoint: cold, then warm. */
export interface ConformanceCase {
  readonly name: string;
  /** Prepares the container at the lake itself (unseen by Forebay) before the first pass. */
  readonly setup?: (context: CaseContext) => Promise<void>;
  readonly run: (context: CaseContext) => Promise<void>;
  /** For reads: changes something at the lake itself, after which `run` must see the change on strict paths. */
  readonly change?: (context: CaseContext) => Promise<void>;
  /** Whether `run` changes nothing, so that it may be repeated. Implied by `change`. */
  readonly readOnly?: boolean;
  readonly needs?: readonly CaseNeed[];
  /** Whether the case's container is made beforehand; true unless given. */
  readonly makeContainer?: boolean;
  /** Response headers of which only the presence counts in this case. */
  readonly maskedHeaders?: readonly string[];
  /**
   * Error codes with which Forebay itself may refuse, because it alone sees its client's protocol and address. It says so
   * before it looks at signatures, so the lake must have refused too, with the same status, but perhaps for another reason.
   */
  readonly ownAnswers?: readonly string[];
  /** Runs in all four pairs of URL styles too. */
  readonly styles?: boolean;
}

/** Cases about one subject. */
export interface CaseGroup {
  readonly name: string;
  readonly cases: readonly ConformanceCase[];
}
