/**
 * Sources of copies that name Forebay: a client copies between two blobs by the URLs that it knows, but the lake
 * fetches the source itself, and Forebay is not the lake. So a source at one of Forebay's own addresses becomes the
 * lake's URL; any other source stays as it is.
 */
import type { UrlStyle } from "../lake/types.ts";
import { parseTarget, rawPathFor } from "./target.ts";
import type { Target } from "./types.ts";

/** How the lake is addressed for one account. */
export interface LakeAddress {
  readonly account: string;
  readonly style: UrlStyle;
  /** `https://acct.blob.core.windows.net` or `http://127.0.0.1:10000`: scheme and authority, nothing more. */
  readonly origin: string;
}

/** How Forebay itself is addressed. */
export interface OwnAddresses {
  /** Lower-case `host:port` (or `host` for the default port) that reach Forebay, without an account's label. */
  readonly authorities: ReadonlySet<string>;
  /** The lakes by account. */
  readonly lakes: ReadonlyMap<string, LakeAddress>;
}

/** Headers whose value is the URL of a source. */
export const SOURCE_HEADERS: ReadonlySet<string> = new Set(["x-ms-copy-source", "x-ms-rename-source"]);

interface SplitUrl {
  readonly authority: string;
  /** From the first slash on; empty when there is none. */
  readonly rest: string;
}

function splitUrl(url: string): SplitUrl | null {
  const lower = url.slice(0, 8).toLowerCase();
  const from = lower.startsWith("https://") ? 8 : lower.startsWith("http://") ? 7 : 0;
  if (from === 0) return null;
  let to = url.length;
  for (const end of ["/", "?"]) {
    const at = url.indexOf(end, from);
    if (at >= 0 && at < to) to = at;
  }
  const authority = url.slice(from, to).toLowerCase();
  // Names and passwords before the host are no part of any URL of the service.
  return authority.includes("@") ? null : { authority, rest: url.slice(to) };
}

/** Whether an authority reaches Forebay, with or without an account's label before it. */
function isOwn(authority: string, host: string | undefined, own: OwnAddresses): boolean {
  if (own.authorities.has(authority) || authority === host?.toLowerCase()) return true;
  const dot = authority.indexOf(".");
  return dot > 0 && own.authorities.has(authority.slice(dot + 1));
}

/** The first label of an authority with `-secondary`, or the same without, as the target says. */
function originFor(lake: LakeAddress, secondary: boolean): string {
  if (!secondary || lake.style === "path") return lake.origin;
  return lake.origin.replace(`//${lake.account}.`, `//${lake.account}-secondary.`);
}

/**
 * Where a source lies, when its URL names one of `accounts`, be it at Forebay's address, the lake's, or any other that
 * is written so.
 */
export function sourceTarget(url: string, accounts: ReadonlySet<string>): Target | null {
  const split = splitUrl(url);
  if (split === null) return null;
  return parseTarget(split.rest.startsWith("/") ? split.rest : `/${split.rest}`, split.authority, accounts);
}

/**
 * The lake's URL for a source that names Forebay, or null when the source stays as it is.
 *
 * @param host The Host header of the request: the name by which this client knows Forebay.
 */
export function rewriteSource(url: string, host: string | undefined, own: OwnAddresses): string | null {
  const split = splitUrl(url);
  if (split === null || !isOwn(split.authority, host, own)) return null;
  const rest = split.rest.startsWith("/") ? split.rest : `/${split.rest}`;
  const target = parseTarget(rest, split.authority, new Set(own.lakes.keys()));
  const lake = target === null ? undefined : own.lakes.get(target.account);
  if (target === null || lake === undefined) return null;
  const rewritten = originFor(lake, target.secondary) + rawPathFor(lake.style, target) + target.query;
  return rewritten === url ? null : rewritten;
}
