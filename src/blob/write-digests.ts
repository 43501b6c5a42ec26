/** Checksums of a write's body: those that its client gave are checked, those that the answer has are taken. */
import type { Digest } from "../engine/write-upload.ts";
import { createCrc64 } from "./crc64.ts";
import type { ServiceError } from "./types.ts";
import { writeErrors } from "./write-errors.ts";
import type { WriteAsked } from "./write-screen.ts";

/** The checksums of a body, base64; null where they were not taken. */
export interface Sums {
  readonly md5: string | null;
  readonly crc64: string | null;
}

export interface Summing {
  readonly digests: readonly Digest[];
  /** Once all bytes have passed. */
  end(): Sums;
}

export function summing(md5: boolean, crc64: boolean): Summing {
  const hasher = md5 ? new Bun.CryptoHasher("md5") : null;
  const crc = crc64 ? createCrc64() : null;
  const digests: Digest[] = [];
  if (hasher !== null) digests.push({ add: (bytes) => void hasher.update(bytes) });
  if (crc !== null) digests.push(crc);
  return { digests, end: () => ({ md5: hasher?.digest("base64") ?? null, crc64: crc?.value() ?? null }) };
}

/** The lake's error when the bytes are not those that the client meant; else null. */
export function mismatch(asked: WriteAsked, sums: Sums): ServiceError | null {
  if (asked.md5 !== null && asked.md5 !== sums.md5) return writeErrors.md5Mismatch;
  if (asked.crc64 !== null && asked.crc64 !== sums.crc64) return writeErrors.crc64Mismatch;
  // Of Put Block List it is the blob's, and taken as it is.
  if (asked.operation === "PutBlob" && asked.blobMd5 !== null && asked.blobMd5 !== sums.md5) {
    return writeErrors.md5Mismatch;
  }
  return null;
}
