/**
 * What a client saw, in a form in which two runs can be compared: everything that must be the same stands as it came,
 * everything that cannot be the same (ids, dates, ETags, host and container names) stands as a mark that still says
 * where two values were equal.
 */
import { createHash } from "node:crypto";
import type { Framing } from "../../support/raw-http.ts";

/** What the cache is expected to do with a read on the warm pass. */
export type CacheExpectation = "hit" | "never" | "any";

/** One request and its response, as they came. */
export interface Exchange {
  readonly label: string;
  readonly status: number;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
  /** Not known where the SDK's own transport was used. */
  readonly framing?: Framing | undefined;
  readonly interim?: readonly number[] | undefined;
  readonly clientRequestId?: string | undefined;
  readonly cache: CacheExpectation;
}

/** One exchange, comparable. */
export interface Seen {
  readonly label: string;
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
  readonly framing: string;
}

/** A whole pass of a case. */
export interface Outcome {
  readonly seen: readonly Seen[];
  readonly notes: Readonly<Record<string, unknown>>;
}

/** Strings of this run that stand for the same thing in another run. */
export interface Masks {
  readonly containers: readonly string[];
  readonly account: string;
  /** `host:port` of the endpoints, in both URL styles. */
  readonly hosts: readonly string[];
  /** Further headers of which only the presence counts, in lower case. */
  readonly headers: readonly string[];
}

/** Framing and connection headers say nothing about the answer; dates are present or not. */
const DROPPED = new Set(["connection", "keep-alive", "transfer-encoding"]);
const PRESENCE_ONLY = new Set([
  "date",
  "x-ms-request-id",
  "last-modified",
  "x-ms-creation-time",
  "x-ms-copy-completion-time",
  "x-ms-copy-id",
]);
const OWN_PREFIX = "x-forebay";
const HTTP_DATE = /\b(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT\b/g;
const ISO_TIME = /\b\d{4}-\d{2}-\d{2}T\d{2}(?::|%3A)\d{2}(?::|%3A)\d{2}(?:\.\d+)?Z/g;
const UUID = /(?<![0-9a-f])[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?![0-9a-f])/gi;
const DELEGATION_KEY = /(?<=<SignedVersion>[^<]*<\/SignedVersion><Value>)[^<]*/g;
const BLOCK_ID = /(?<=[?&]blockid=)[^&]*/g;
const ETAG = /"?0x[0-9A-F]{12,20}\b"?/g;
/** Ids that cases choose themselves begin like this and are compared as they are. */
const CHOSEN_UUID = /^c0ffee/i;
const TEXT_BODY_BYTES_MAX = 64 * 1024;

/** Turns the exchanges of a pass into an {@link Outcome}. */
export function outcomeOf(
  exchanges: readonly Exchange[],
  notes: Readonly<Record<string, unknown>>,
  masks: Masks,
): Outcome {
  const etags = new Map<string, string>();
  const symbol = (etag: string): string => {
    const bare = etag.replaceAll('"', "");
    const known = etags.get(bare) ?? `«etag-${etags.size + 1}»`;
    etags.set(bare, known);
    return known;
  };
  const mask = (text: string): string => {
    let masked = text;
    for (const [i, name] of masks.containers.entries()) masked = masked.replaceAll(name, `«container-${i}»`);
    for (const host of masks.hosts) {
      masked = masked.replaceAll(`${host}/${masks.account}`, "«host»").replaceAll(host, "«host»");
    }
    return masked
      .replace(HTTP_DATE, "«date»")
      .replace(DELEGATION_KEY, "«key»")
      .replace(ISO_TIME, "«time»")
      .replace(UUID, (uuid) => (CHOSEN_UUID.test(uuid) ? uuid : "«uuid»"))
      .replace(ETAG, symbol);
  };
  const masked = JSON.parse(mask(JSON.stringify(notes)).replaceAll('\\"«', "«")) as Record<string, unknown>;
  return {
    seen: exchanges.map((exchange) => seenOf(exchange, mask, new Set([...PRESENCE_ONLY, ...masks.headers]))),
    notes: masked,
  };
}

function seenOf(exchange: Exchange, mask: (text: string) => string, presenceOnly: ReadonlySet<string>): Seen {
  const headers: Record<string, string> = {};
  for (const [rawName, value] of exchange.headers) {
    const name = rawName.toLowerCase();
    if (DROPPED.has(name) || name.startsWith(OWN_PREFIX)) continue;
    headers[name] = headers[name] === undefined ? value : `${headers[name]}, ${value}`;
  }
  const lengthBytes = headers["content-length"];
  for (const [name, value] of Object.entries(headers)) {
    if (presenceOnly.has(name)) headers[name] = "«present»";
    else if (name === "x-ms-client-request-id" && value === exchange.clientRequestId) headers[name] = "«echo»";
    else headers[name] = mask(value);
  }
  // An error's text holds an id and a time; its length follows from them.
  if (lengthBytes !== undefined && exchange.status >= 400) headers["content-length"] = "«length»";
  const sorted = Object.fromEntries(Object.entries(headers).sort(([a], [b]) => (a < b ? -1 : 1)));
  return {
    label: mask(exchange.label).replace(BLOCK_ID, "«id»"),
    status: exchange.status,
    headers: sorted,
    body: bodyText(exchange, headers["content-type"] ?? "", mask),
    framing: [exchange.framing ?? "", ...(exchange.interim ?? [])].join(" ").trim(),
  };
}

function bodyText(exchange: Exchange, type: string, mask: (text: string) => string): string {
  const { body } = exchange;
  if (body.length === 0) return "";
  const readable = /xml|json|multipart|text\/html/.test(type) && body.length <= TEXT_BODY_BYTES_MAX;
  if (readable) return mask(Buffer.from(body).toString("utf8"));
  return `${body.length} bytes, sha256 ${createHash("sha256").update(body).digest("hex").slice(0, 32)}`;
}

/** The value of `x-forebay` of an exchange, or undefined. */
export function cacheVerdict(exchange: Exchange): string | undefined {
  return exchange.headers.find(([name]) => name.toLowerCase() === OWN_PREFIX)?.[1];
}

/** The headers that Forebay added under a name that is not its own: there must be none. */
export function strangeHeaders(lake: Outcome, forebay: Outcome): readonly string[] {
  const strange: string[] = [];
  for (const [i, seen] of forebay.seen.entries()) {
    const expected = lake.seen[i]?.headers ?? {};
    for (const name of Object.keys(seen.headers)) if (!(name in expected)) strange.push(`${seen.label}: ${name}`);
  }
  return strange;
}
