/**
 * HMAC-SHA256 as Azure Storage signs with it. A hasher keyed once and copied for each text costs half of what a fresh
 * one does, so keyed ones are kept for as long as their key is.
 */

/** An account's key, decoded from base64. */
export type AccountKey = Uint8Array;

const keyed = new WeakMap<AccountKey, Bun.CryptoHasher>();

/** The base64 signature of `text` (as UTF-8) with `key`. */
export function sign(text: string, key: AccountKey): string {
  let hasher = keyed.get(key);
  if (hasher === undefined) {
    hasher = new Bun.CryptoHasher("sha256", key);
    keyed.set(key, hasher);
  }
  return hasher.copy().update(text).digest("base64");
}

/** Whether two signatures are equal, in a time that does not tell where they differ. */
export function sameSignature(a: string, b: string): boolean {
  if (a.length !== b.length) return false;
  let difference = 0;
  for (let i = 0; i < a.length; i++) difference |= a.charCodeAt(i) ^ b.charCodeAt(i);
  return difference === 0;
}

/** Whether `signature` is that of `text` with one of `keys`. */
export function signedByAny(text: string, signature: string, keys: readonly AccountKey[]): boolean {
  for (const key of keys) if (sameSignature(sign(text, key), signature)) return true;
  return false;
}
