/**
 * Where the headers stand in a request's head. Clients send the same names in the same order again and again; only
 * values differ. So what follows from the names alone is found out once for each sequence of names and remembered: a
 * request then costs one comparison of names, and its values are picked by place.
 */
import type { RawHeaders } from "../http/types.ts";

/** The names that decide something here, in lower case. The first eleven are signed by position, in this order. */
const KNOWN = [
  "content-encoding",
  "content-language",
  "content-length",
  "content-md5",
  "content-type",
  "date",
  "if-modified-since",
  "if-match",
  "if-none-match",
  "if-unmodified-since",
  "range",
  "authorization",
  "host",
  "x-ms-date",
  "x-ms-version",
  "x-ms-range",
  "x-ms-client-request-id",
  "x-forebay-bypass",
] as const;

export type KnownHeader = (typeof KNOWN)[number];

/** The standard headers of a SharedKey signature, in its order. */
export const SIGNED_BY_POSITION = KNOWN.slice(0, 11);

const PLACES: ReadonlyMap<string, number> = new Map(KNOWN.map((name, i) => [name, i]));
const place = (name: KnownHeader): number => PLACES.get(name) ?? 0;

/** Places of the names that are picked often; see {@link Layout.value}. */
export const AT = {
  contentLength: place("content-length"),
  contentMd5: place("content-md5"),
  contentType: place("content-type"),
  date: place("date"),
  ifModifiedSince: place("if-modified-since"),
  ifMatch: place("if-match"),
  ifNoneMatch: place("if-none-match"),
  ifUnmodifiedSince: place("if-unmodified-since"),
  range: place("range"),
  authorization: place("authorization"),
  host: place("host"),
  msDate: place("x-ms-date"),
  msVersion: place("x-ms-version"),
  msRange: place("x-ms-range"),
  clientRequestId: place("x-ms-client-request-id"),
  bypass: place("x-forebay-bypass"),
} as const;

/** An `x-ms-` header: its lower-case name and the index of its value in the raw headers. */
export interface MsHeader {
  readonly name: string;
  readonly at: number;
}

/** What a sequence of header names says. */
export interface Layout {
  /** The names as they came. */
  readonly names: readonly string[];
  /** The same in lower case. */
  readonly lower: readonly string[];
  /** By place: the index of the value in the raw headers, of the first of the name, or -1. */
  readonly at: Int16Array;
  /** `x-ms-` headers in the order of bytes of their names. */
  readonly ms: readonly MsHeader[];
  /** Some name that a signature covers, or Authorization, stands more than once. */
  readonly signedTwice: boolean;
  /** Some name of {@link KNOWN} or some `x-ms-` name stands more than once. */
  readonly knownTwice: boolean;
  /** Some clients tunnel a method in a header: the request is then not what it seems. */
  readonly methodOverride: boolean;
}

/** The value at a place of {@link AT}, or undefined. */
export function valueAt(layout: Layout, headers: RawHeaders, where: number): string | undefined {
  const at = layout.at[where] as number;
  return at < 0 ? undefined : headers[at];
}

/** How many sequences are remembered. Names beyond a length, or too many of them, are looked at anew each time. */
const REMEMBERED = 16;
const NAMES_MAX = 64;
const NAME_LENGTH_MAX = 64;

/** The sequences met last, the latest first. */
const remembered: Layout[] = [];

/** The layout of a request's headers. */
export function layoutOf(headers: RawHeaders): Layout {
  for (let i = 0; i < remembered.length; i++) {
    const layout = remembered[i] as Layout;
    if (!isOf(layout, headers)) continue;
    if (i > 0) {
      remembered.splice(i, 1);
      remembered.unshift(layout);
    }
    return layout;
  }
  const layout = layOut(headers);
  if (layout.names.length > NAMES_MAX || layout.names.some((name) => name.length > NAME_LENGTH_MAX)) return layout;
  remembered.unshift(layout);
  if (remembered.length > REMEMBERED) remembered.pop();
  return layout;
}

function isOf(layout: Layout, headers: RawHeaders): boolean {
  const { names } = layout;
  if (headers.length !== 2 * names.length) return false;
  for (let i = 0; i < names.length; i++) if (headers[2 * i] !== names[i]) return false;
  return true;
}

/** A copy of a text cut out of a head, to be kept: what is cut out keeps all of the head in memory. */
export function ownText(text: string): string {
  return Buffer.from(text, "latin1").toString("latin1");
}

function layOut(headers: RawHeaders): Layout {
  const names: string[] = [];
  const lower: string[] = [];
  const at = new Int16Array(KNOWN.length).fill(-1);
  const ms: MsHeader[] = [];
  let signedTwice = false;
  let knownTwice = false;
  for (let i = 0; i + 1 < headers.length; i += 2) {
    const raw = ownText(headers[i] ?? "");
    const name = raw.toLowerCase();
    const known = PLACES.get(name);
    const isMs = name.startsWith("x-ms-");
    if ((isMs || known !== undefined) && lower.includes(name)) {
      knownTwice = true;
      if (isMs || (known ?? 0) < SIGNED_BY_POSITION.length || name === "authorization") signedTwice = true;
    } else if (known !== undefined) {
      at[known] = i + 1;
    }
    if (isMs) ms.push({ name, at: i + 1 });
    names.push(raw);
    lower.push(name);
  }
  ms.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : a.at - b.at));
  const methodOverride = lower.some((name) => name.startsWith("x-http-method"));
  return { names, lower, at, ms, signedTwice, knownTwice, methodOverride };
}
