/**
 * ETags and dates that Forebay gave out for versions which the lake has by now under names of its own. A condition that
 * names one is put into the lake's terms: `If-Match` and `If-None-Match` get the lake's ETag, and a date that is the
 * alias' own becomes the ETag too, because the lake's date is a later one.
 */

import { slotsOf } from "../engine/generations.ts";
import { resolvePolicy } from "../engine/policy.ts";
import type { RawHeaders } from "../http/types.ts";
import { keyText } from "../lake/types.ts";
import type { EtagAlias } from "../writeback/types.ts";
import { bareEtag, type Conditions, parseConditions, unconditional } from "./conditions.ts";
import { sourceTarget } from "./copy-source.ts";
import type { Front } from "./front.ts";
import type { Placed } from "./respond.ts";
import type { Target } from "./types.ts";

/** ETags made here: Azure's own begin with 0x8D. */
const OWN_ETAG = /^0x0F[0-9A-F]{13}$/i;

/** Whether `etag`, without quotes, was made here. */
function isOwnEtag(etag: string | null): boolean {
  return etag !== null && OWN_ETAG.test(etag);
}

/** Conditions in the lake's terms; the same object when they are so already. */
function translated(conditions: Conditions, alias: EtagAlias): Conditions {
  const [ours, lakes] = [bareEtag(alias.etag), bareEtag(alias.lakeEtag)];
  const ourSecondMs = Math.floor(alias.lastModifiedMs / 1000) * 1000;
  const byTag = (tag: string | null): string | null => (tag !== null && tag === ours ? lakes : tag);
  let { ifModifiedSinceMs, ifUnmodifiedSinceMs } = conditions;
  let ifMatch = byTag(conditions.ifMatch);
  let ifNoneMatch = byTag(conditions.ifNoneMatch);
  // Since then unmodified: still that very version. A condition on another one fails by itself.
  if (ifUnmodifiedSinceMs === ourSecondMs && (ifMatch === null || ifMatch === lakes)) {
    [ifMatch, ifUnmodifiedSinceMs] = [lakes, null];
  }
  if (ifModifiedSinceMs === ourSecondMs && (ifNoneMatch === null || ifNoneMatch === lakes)) {
    [ifNoneMatch, ifModifiedSinceMs] = [lakes, null];
  }
  const same =
    ifMatch === conditions.ifMatch &&
    ifNoneMatch === conditions.ifNoneMatch &&
    ifModifiedSinceMs === conditions.ifModifiedSinceMs &&
    ifUnmodifiedSinceMs === conditions.ifUnmodifiedSinceMs;
  return same ? conditions : { ifMatch, ifNoneMatch, ifModifiedSinceMs, ifUnmodifiedSinceMs };
}

interface NamedBlob {
  readonly account: string;
  readonly container: string;
  readonly blob: string;
}

/** Whether conditions on a blob may name something that only Forebay knows. */
export function mayNameAlias(front: Front, conditions: Conditions, { account, container, blob }: NamedBlob): boolean {
  if (conditions === unconditional) return false;
  if (isOwnEtag(conditions.ifMatch) || isOwnEtag(conditions.ifNoneMatch)) return true;
  if (conditions.ifModifiedSinceMs === null && conditions.ifUnmodifiedSinceMs === null) return false;
  return resolvePolicy(front.policies(), account, container, blob).write === "back";
}

/** Conditions on a blob in the lake's terms. Rejects with `overloaded` when these cannot be had. */
export async function inLakeTerms(front: Front, conditions: Conditions, named: NamedBlob): Promise<Conditions> {
  if (!mayNameAlias(front, conditions, named)) return conditions;
  const { account, container, blob } = named;
  const indexKey = keyText({ account, container, blob });
  const name = { account, container, blob };
  const alias = await front.reader.pending.alias({ name, indexKey, slots: slotsOf(indexKey) });
  return alias === null ? conditions : translated(conditions, alias);
}

/** Headers of a request to be passed on that need other values for the lake: see `conditions` of `Passing`. */
export async function translatedHeaders(placed: Placed): Promise<ReadonlyMap<string, string | null> | undefined> {
  const { front, exchange, target, lake } = placed;
  const { headers } = exchange.head;
  const found = conditionHeaders(headers);
  if (found === null) return undefined;
  // What cannot be signed again goes as it is: the lake then finds another version than the one named.
  if (lake.keys.length === 0 && found.values.get("authorization")?.startsWith("SharedKey")) return undefined;
  const changes = new Map<string, string | null>();
  if (found.own) await translateInto(changes, front, found.values, "", target);
  const source = found.source ? sourceTarget(found.values.get("x-ms-copy-source") ?? "", front.accounts()) : null;
  if (source !== null) await translateInto(changes, front, found.values, "x-ms-source-", source);
  return changes.size === 0 ? undefined : changes;
}

const NAMES = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since"] as const;
const OWN_NAMES: ReadonlySet<string> = new Set(NAMES);
const SOURCE_NAMES: ReadonlySet<string> = new Set(NAMES.map((name) => `x-ms-source-${name}`));

/** The headers that matter here; null when there is no condition. */
function conditionHeaders(
  headers: RawHeaders,
): { readonly values: ReadonlyMap<string, string>; readonly own: boolean; readonly source: boolean } | null {
  const values = new Map<string, string>();
  let [own, source] = [false, false];
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const name = (headers[i] ?? "").toLowerCase();
    const [isOwn, isSource] = [OWN_NAMES.has(name), SOURCE_NAMES.has(name)];
    if (!isOwn && !isSource && name !== "authorization" && name !== "x-ms-copy-source") continue;
    // What stands twice is the lake's to understand.
    if (values.has(name)) return null;
    values.set(name, headers[i + 1] ?? "");
    own ||= isOwn;
    source ||= isSource;
  }
  return own || source ? { values, own, source } : null;
}

async function translateInto(
  changes: Map<string, string | null>,
  front: Front,
  values: ReadonlyMap<string, string>,
  prefix: "" | "x-ms-source-",
  target: Target,
): Promise<void> {
  const { account, container, blob } = target;
  if (container === null || blob === null || target.ambiguous || target.secondary) return;
  const before = parseConditions({
    ifMatch: values.get(`${prefix}if-match`),
    ifNoneMatch: values.get(`${prefix}if-none-match`),
    ifModifiedSince: values.get(`${prefix}if-modified-since`),
    ifUnmodifiedSince: values.get(`${prefix}if-unmodified-since`),
  });
  if (before === "forward") return;
  const after = await inLakeTerms(front, before, { account, container, blob });
  if (after === before) return;
  const tag = (name: string, value: string | null, was: string | null): void => {
    if (value !== was) changes.set(prefix + name, value === null ? null : `"${value}"`);
  };
  tag("if-match", after.ifMatch, before.ifMatch);
  tag("if-none-match", after.ifNoneMatch, before.ifNoneMatch);
  // A date is kept, or was put into the terms of an ETag.
  if (after.ifModifiedSinceMs !== before.ifModifiedSinceMs) changes.set(`${prefix}if-modified-since`, null);
  if (after.ifUnmodifiedSinceMs !== before.ifUnmodifiedSinceMs) changes.set(`${prefix}if-unmodified-since`, null);
}
