/** How writes that were taken in are answered: as the lake does, and where they are durable. */
import { bump, observeLatency } from "../engine/stats.ts";
import type { Entry } from "../journal/types.ts";
import { formatHttpDate, httpDateNow } from "./dates.ts";
import { note } from "./respond.ts";
import type { Write } from "./write-commit.ts";
import type { Sums } from "./write-digests.ts";

/** From this version on the answer to a Put has a CRC64. */
const CRC64_VERSION = "2019-02-02";

/** Answers a put that was acknowledged by the desk. `sums`: what is told of the body. */
export function answerPut(write: Write, entry: Entry, sums: Sums): void | Promise<void> {
  const headers = sumsOf(write, sums);
  if (entry.kind === "put") {
    headers.push("ETag", entry.put.etag, "Last-Modified", formatHttpDate(entry.put.lastModifiedMs));
  }
  headers.push("x-ms-request-server-encrypted", "true");
  return answer(write, 201, "Created", headers);
}

/** Answers for a block that was staged. */
export function answerBlock(write: Write, sums: Sums): void | Promise<void> {
  return answer(write, 201, "Created", [...sumsOf(write, sums), "x-ms-request-server-encrypted", "true"]);
}

export function answerDelete(write: Write): void | Promise<void> {
  return answer(write, 202, "Accepted", []);
}

function sumsOf(write: Write, sums: Sums): string[] {
  const headers: string[] = [];
  if (sums.md5 !== null) headers.push("Content-MD5", sums.md5);
  if (sums.crc64 !== null && write.asked.apiVersion >= CRC64_VERSION) headers.push("x-ms-content-crc64", sums.crc64);
  return headers;
}

function answer(write: Write, status: number, reason: string, own: readonly string[]): void | Promise<void> {
  const { placed, asked } = write;
  const { front, exchange, operation, startedAtMs } = placed;
  const { stats, clock } = front.engine;
  const headers = ["Server", "Forebay", ...own, "x-ms-request-id", front.newRequestId()];
  headers.push("x-ms-version", asked.apiVersion);
  if (asked.clientRequestId !== undefined) headers.push("x-ms-client-request-id", asked.clientRequestId);
  headers.push("Date", httpDateNow(clock), "x-forebay", "dirty", "x-forebay-durability", "flash");
  bump(stats.writesTaken, operation.name);
  stats.bytesTaken += asked.lengthBytes;
  observeLatency(stats, "back", clock.monotonicMs() - startedAtMs);
  note(front, exchange, startedAtMs, { status, result: "dirty", operation: operation.name, headers });
  return exchange.respond({ status, reason, headers }, null, 0);
}
