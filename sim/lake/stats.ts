/** What the simulated lake has seen: so that a test can say "the lake sent each byte once". */
import { headerOf, type RawHeaders } from "../../src/http/types.ts";
import type { Operation } from "./operations.ts";

/** What was sent of one blob. */
export interface SentBytes {
  readonly reads: number;
  readonly bytes: number;
  /** Every range sent, in order: first byte and length. */
  readonly ranges: readonly (readonly [first: number, length: number])[];
}

export interface SimStats {
  /** Requests of one kind, refused ones included. */
  count(operation: Operation): number;
  readonly requests: number;
  readonly receivedBytes: number;
  /** What Get Blob sent of `ACCOUNT/CONTAINER/BLOB`. */
  sent(key: string): SentBytes;
  readonly sentBytes: number;
  reset(): void;
  sawRequest(operation: Operation, bodyBytes: number): void;
  sawRead(key: string, headers: RawHeaders, lengthBytes: number): void;
}

export function createStats(): SimStats {
  const counts = new Map<Operation, number>();
  const blobs = new Map<string, { reads: number; bytes: number; ranges: [number, number][] }>();
  let requests = 0;
  let receivedBytes = 0;
  let sentBytes = 0;
  return {
    count: (operation) => counts.get(operation) ?? 0,
    get requests() {
      return requests;
    },
    get receivedBytes() {
      return receivedBytes;
    },
    get sentBytes() {
      return sentBytes;
    },
    sent: (key) => blobs.get(key) ?? { reads: 0, bytes: 0, ranges: [] },
    reset: () => {
      counts.clear();
      blobs.clear();
      requests = 0;
      receivedBytes = 0;
      sentBytes = 0;
    },
    sawRequest: (operation, bodyBytes) => {
      counts.set(operation, (counts.get(operation) ?? 0) + 1);
      requests++;
      receivedBytes += bodyBytes;
    },
    sawRead: (key, headers, lengthBytes) => {
      const first = Number(/^bytes (\d+)-/.exec(headerOf(headers, "content-range") ?? "")?.[1] ?? "0");
      const blob = blobs.get(key) ?? { reads: 0, bytes: 0, ranges: [] };
      blobs.set(key, blob);
      blob.reads++;
      blob.bytes += lengthBytes;
      blob.ranges.push([first, lengthBytes]);
      sentBytes += lengthBytes;
    },
  };
}
