/**
 * What stands under a name before it is written: the newest pending version, or what the lake holds. The lake is
 * asked with one HEAD of Forebay's own credential; from its answer follows what the drain will compare with, and
 * whether the lake would treat the write in a way that is not modelled here.
 */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Generation } from "../flash/types.ts";
import { headerOf, type RawHeaders, type ResponseHead } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import type { Base, BlobName, Entry } from "../journal/types.ts";
import { keyText, LAKE_API_VERSION, type Lake } from "../lake/types.ts";
import type { EngineContext } from "./context.ts";
import { boundedMap } from "./hot.ts";
import { bump } from "./stats.ts";

/** What a write finds. */
export type Found =
  /** Something of this Forebay is pending, a deletion too. */
  | { readonly kind: "pending"; readonly entry: Entry }
  /** Nothing is; the lake has this. `lastModified` is its header, where there is a blob. */
  | { readonly kind: "lake"; readonly base: Base; readonly lastModified: string | undefined }
  /** The lake must answer the write itself. */
  | { readonly kind: "forward"; readonly why: string };

/** What was found, and the generation before the lake was asked; null where it was not. */
export interface Before {
  readonly found: Found;
  readonly basedAt: Generation | null;
}

export interface WriteBase {
  /** Never rejects. */
  look(lake: Lake, name: BlobName): Promise<Before>;
}

const UNKNOWN: Found = { kind: "lake", base: { kind: "unknown" }, lastModified: undefined };
const ACCOUNTS_MAX = 1024;

export function createWriteBase(context: EngineContext): WriteBase {
  const { generations, clock, stats } = context;
  /** Accounts whose lake could not be reached, and until when it is not asked again. */
  const away = boundedMap<number>(ACCOUNTS_MAX);
  const slotsOf = (name: BlobName) => generations.slotsOf(keyText(name));

  const pendingOf = async (name: BlobName): Promise<Found | null> => {
    const { owed } = generations;
    if (owed.known() && !owed.blob(slotsOf(name))) return null;
    try {
      const entry = await context.desk.latest(name);
      return entry === null ? null : { kind: "pending", entry };
    } catch (error) {
      return { kind: "forward", why: `desk-${asForebayError(error).code}` };
    }
  };
  const askLake = async (lake: Lake, name: BlobName): Promise<Found> => {
    const { account } = name;
    const untilMs = away.get(account);
    if (untilMs !== undefined) {
      if (untilMs > clock.monotonicMs()) return UNKNOWN;
      // One looks whether it is back; the others do not wait for that.
      away.set(account, clock.monotonicMs() + limits.writeBaseWaitMs + limits.lakeAwayMs);
    }
    try {
      const { status, headers } = await head(clock, lake, name);
      away.delete(account);
      bump(stats.lakeRequests, `base.${status}`);
      if (status === 401 || status === 403) {
        context.trust.refused(account, name.container, headerOf(headers, "x-ms-error-code"));
      }
      return foundIn(status, headers);
    } catch (error) {
      const { code } = asForebayError(error);
      bump(stats.lakeRequests, `base.${code}`);
      if (!hasCode(error, "lake-unreachable", "lake-lost", "timeout")) return { kind: "forward", why: `base-${code}` };
      if (code !== "lake-lost") away.set(account, clock.monotonicMs() + limits.lakeAwayMs);
      return UNKNOWN;
    }
  };
  return {
    look: async (lake, name) => {
      const basedAt = generations.at(slotsOf(name));
      const pending = await pendingOf(name);
      return pending === null ? { found: await askLake(lake, name), basedAt } : { found: pending, basedAt: null };
    },
  };
}

/** The head of the lake's answer. Rejects as `Lake.read` does, with `timeout` after `limits.writeBaseWaitMs`. */
async function head(clock: Clock, lake: Lake, key: BlobName): Promise<ResponseHead> {
  const ending = new AbortController();
  let late = false;
  const timer = clock.after(limits.writeBaseWaitMs, () => {
    late = true;
    ending.abort();
  });
  try {
    const credential = { kind: "own" } as const;
    const { signal } = ending;
    const response = await lake.read({ key, method: "HEAD", apiVersion: LAKE_API_VERSION, credential, signal });
    response.body.cancel();
    return response.head;
  } catch (error) {
    throw late ? new ForebayError("timeout", "the lake did not say in time what it holds") : error;
  } finally {
    timer.cancel();
  }
}

function foundIn(status: number, headers: RawHeaders): Found {
  const code = headerOf(headers, "x-ms-error-code");
  if (status === 404 && code === "BlobNotFound") {
    return { kind: "lake", base: { kind: "none" }, lastModified: undefined };
  }
  if (status !== 200) return { kind: "forward", why: `base-${status}` };
  const special = specialOf(headers);
  if (special !== null) return { kind: "forward", why: `base-${special}` };
  const etag = headerOf(headers, "etag");
  if (etag === undefined) return { kind: "forward", why: "base-etag" };
  return { kind: "lake", base: { kind: "etag", etag }, lastModified: headerOf(headers, "last-modified") };
}

/** What makes a write of this blob something else than a plain replacement, or null. */
function specialOf(headers: RawHeaders): string | null {
  const is = (name: string, value: string): boolean => headerOf(headers, name)?.toLowerCase() === value;
  if (is("x-ms-lease-status", "locked")) return "leased";
  if (is("x-ms-legal-hold", "true")) return "legal-hold";
  if (headerOf(headers, "x-ms-immutability-policy-until-date") !== undefined) return "immutability";
  // The account keeps versions: each write makes one, with an id that only the lake can give.
  if (headerOf(headers, "x-ms-version-id") !== undefined) return "versions";
  if (is("x-ms-access-tier", "archive") || headerOf(headers, "x-ms-archive-status") !== undefined) return "archive";
  if (!is("x-ms-blob-type", "blockblob")) return "blob-type";
  if (is("x-ms-resource-type", "directory") || is("x-ms-meta-hdi_isfolder", "true")) return "directory";
  if (is("x-ms-copy-status", "pending")) return "copying";
  if (headerOf(headers, "x-ms-expiry-time") !== undefined) return "expiry";
  return null;
}
