/** Comparing signatures with those of an account's keys. */
import { timingSafeEqual } from "node:crypto";
import { hmacSha256Base64 } from "../../src/lake/sign.ts";
import type { Call } from "./model.ts";

/** Whether `signature` is that of `text` under either key of the account. */
export function matchesAKey(call: Call, text: string, signature: string): boolean {
  const given = Buffer.from(signature);
  return call.account.keys.some((key) => {
    const right = Buffer.from(hmacSha256Base64(key, text));
    return right.length === given.length && timingSafeEqual(right, given);
  });
}
