/** How questions go to the lake: for how long, and how a small answer is kept so that it can be said to others too. */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type BodyReader, type ClientResponse, isNamed, type ResponseHead } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Lake, LakeRead } from "../lake/types.ts";

/** Reads of the lake; `timeout` unless the answer begins within `limits.lakeCheckTimeoutMs`. */
export async function askInTime(clock: Clock, lake: Lake, read: LakeRead): Promise<ClientResponse> {
  const given = read.signal;
  const ending = new AbortController();
  let late = false;
  const leave = (): void => ending.abort();
  const timer = clock.after(limits.lakeCheckTimeoutMs, () => {
    late = true;
    ending.abort();
  });
  given?.addEventListener("abort", leave, { once: true });
  if (given?.aborted === true) leave();
  try {
    return await lake.read({ ...read, signal: ending.signal });
  } catch (error) {
    given?.removeEventListener("abort", leave);
    throw late ? new ForebayError("timeout", "the lake did not begin to answer a check in time") : error;
  } finally {
    timer.cancel();
  }
}

/** An answer, and its body's bytes where they were read. */
export interface Kept {
  readonly response: ClientResponse;
  readonly bytes: Uint8Array | null;
}

/** An answer to be passed on: a small one is read whole, a large one left as it is. Rejects as its body does. */
export async function keptWhole(response: ClientResponse, clientRequestId: string | undefined): Promise<Kept> {
  const { lengthBytes } = response.body;
  if (lengthBytes === null || lengthBytes > limits.lakeReadOutBytesMax) return { response, bytes: null };
  const pieces: Uint8Array[] = [];
  for (let bytes = await response.body.read(); bytes !== null; bytes = await response.body.read()) pieces.push(bytes);
  return answerOf(response.head, Buffer.concat(pieces), clientRequestId);
}

/** The same answer as said to another request: a lake that returns `x-ms-client-request-id` returns each its own. */
export function answerOf(head: ResponseHead, bytes: Uint8Array, clientRequestId: string | undefined): Kept {
  const headers = head.headers.filter((_, i) => !isNamed(head.headers[i & ~1] as string, "x-ms-client-request-id"));
  const echoes = headers.length < head.headers.length;
  if (echoes && clientRequestId !== undefined) headers.push("x-ms-client-request-id", clientRequestId);
  return { response: { head: { ...head, headers }, body: bodyOf(bytes) }, bytes };
}

function bodyOf(bytes: Uint8Array): BodyReader {
  let rest: Uint8Array | null = bytes.length === 0 ? null : bytes;
  return {
    lengthBytes: bytes.length,
    read: () => {
      const piece = rest;
      rest = null;
      return Promise.resolve(piece);
    },
    cancel: () => {
      rest = null;
    },
  };
}
