/** Requests of the drain to the lake, each with one of a closed set of outcomes. */
import { limits } from "../base/limits.ts";
import { type ClientResponse, headerOf, type RawHeaders } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import type { BlobName } from "../journal/types.ts";
import { errorCodeOf, readText } from "../lake/answers.ts";
import type { LakeOwnRequest, OwnLake } from "../lake/types.ts";
import { type Failure, failureOf, failureOfError, later } from "./failures.ts";

export interface Answer {
  readonly status: number;
  readonly headers: RawHeaders;
  readonly text: string;
}

export type Asked =
  | { readonly kind: "answer"; readonly answer: Answer }
  | { readonly kind: "failed"; readonly failure: Failure };

export type Opened =
  | { readonly kind: "open"; readonly response: ClientResponse }
  | { readonly kind: "failed"; readonly failure: Failure };

/** A request about a blob; about its container where the blob's name is empty. */
export type BlobRequest = Omit<LakeOwnRequest, "container" | "blob" | "signal">;

export interface Ask {
  /** Never rejects. The answer is read whole, `textBytesMax` of it at most. */
  ask(name: BlobName, request: BlobRequest, textBytesMax?: number): Promise<Asked>;
  /** The same, with a good answer's body left to be read. */
  open(name: BlobName, request: BlobRequest): Promise<Opened>;
}

export function createAsk(parts: {
  readonly lakes: (account: string) => OwnLake | undefined;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  /** The lake asked for less. */
  readonly busy: (account: string, waitMs: number | null) => void;
}): Ask {
  const told = (name: BlobName, failure: Failure): { readonly kind: "failed"; readonly failure: Failure } => {
    if (failure.kind === "later" && failure.busy) parts.busy(name.account, failure.waitMs);
    return { kind: "failed", failure };
  };
  const open = async (name: BlobName, request: BlobRequest): Promise<Opened> => {
    const lake = parts.lakes(name.account);
    if (lake === undefined) {
      request.body?.close();
      return told(name, later(`no lake is configured for the account ${name.account}`));
    }
    const { container, blob } = name;
    const place = blob === "" ? { container } : { container, blob };
    let response: ClientResponse;
    try {
      response = await lake.own({ ...request, ...place, signal: parts.signal });
    } catch (error) {
      // A request that could not even be made never had its body.
      request.body?.close();
      return told(name, failureOfError(error));
    }
    try {
      const { status, headers } = response.head;
      if (status >= 200 && status <= 299) return { kind: "open", response };
      const text = await readText(response.body);
      return told(name, failureOf({ status, headers, code: errorCodeOf(response, text) }, parts.clock.wallMs()));
    } catch (error) {
      return told(name, failureOfError(error));
    }
  };
  return {
    open,
    ask: async (name, request, textBytesMax = limits.lakeSmallBodyBytesMax) => {
      const opened = await open(name, request);
      if (opened.kind === "failed") return opened;
      const { head, body } = opened.response;
      try {
        const text = await readText(body, textBytesMax);
        return { kind: "answer", answer: { status: head.status, headers: head.headers, text } };
      } catch (error) {
        return told(name, failureOfError(error));
      }
    },
  };
}

export const etagOf = (answer: Answer): string | undefined => headerOf(answer.headers, "etag");
