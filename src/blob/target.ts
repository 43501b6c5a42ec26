/**
 * Where a request points: the account from the Host header or from the path, and the container and blob as the service
 * will see them. The service folds some names together (`\` into `/`, dot segments, and with a hierarchical namespace
 * double and trailing slashes); two names that might be one blob are marked ambiguous rather than guessed at.
 *
 * Source: "Naming and referencing containers, blobs, and metadata" and "Storage URI syntax" in the REST documentation.
 */
import type { UrlStyle } from "../lake/types.ts";
import { hasForeignCharacters, percentDecode } from "./query.ts";
import type { Target } from "./types.ts";

const SECONDARY = "-secondary";

interface NamedAccount {
  readonly account: string;
  readonly secondary: boolean;
}

/** The configured account that `text` names, with or without `-secondary`. */
function accountNamed(text: string, accounts: ReadonlySet<string>): NamedAccount | null {
  if (accounts.has(text)) return { account: text, secondary: false };
  if (!text.endsWith(SECONDARY)) return null;
  const account = text.slice(0, -SECONDARY.length);
  return accounts.has(account) ? { account, secondary: true } : null;
}

/** The account of a Host header in account style: its first label, when another label follows. */
export function accountOfHost(host: string, accounts: ReadonlySet<string>): NamedAccount | null {
  const dot = host.indexOf(".");
  if (dot <= 0 || dot + 1 >= host.length || host[dot + 1] === ":") return null;
  const named = accountNamed(host.slice(0, dot).toLowerCase(), accounts);
  return named !== null && !isIpv4Host(host) ? named : null;
}

/** An account may be called `127`: a host of digits and dots is an address, not a name. */
function isIpv4Host(host: string): boolean {
  for (let i = 0; i < host.length; i++) {
    const code = host.charCodeAt(i);
    if (code === 0x3a) return true;
    if (code !== 0x2e && (code < 0x30 || code > 0x39)) return false;
  }
  return true;
}

/**
 * Parses a raw request target in origin form with the Host header that came with it. Null when it is no path, or when
 * it names none of the configured accounts.
 */
export function parseTarget(rawTarget: string, host: string | undefined, accounts: ReadonlySet<string>): Target | null {
  if (rawTarget.charCodeAt(0) !== 0x2f) return null;
  const mark = rawTarget.indexOf("?");
  const wirePath = mark < 0 ? rawTarget : rawTarget.slice(0, mark);
  const query = mark < 0 ? "" : rawTarget.slice(mark);
  const hosted = host === undefined ? null : accountOfHost(host, accounts);
  if (hosted !== null) return finish(hosted, "account", wirePath, wirePath, query);
  const slash = wirePath.indexOf("/", 1);
  const first = slash < 0 ? wirePath.slice(1) : wirePath.slice(1, slash);
  const named = accountNamed(first, accounts);
  if (named === null) return null;
  return finish(named, "path", wirePath, slash < 0 ? "" : wirePath.slice(slash), query);
}

function finish(named: NamedAccount, style: UrlStyle, wirePath: string, rawPath: string, query: string): Target {
  return { ...named, style, wirePath, rawPath, query, ...resourceOf(rawPath) };
}

interface Resource {
  readonly container: string | null;
  readonly blob: string | null;
  readonly ambiguous: boolean;
}

/** The container and blob that a raw path (without an account) names. */
function resourceOf(rawPath: string): Resource {
  if (rawPath.length <= 1) return { container: null, blob: null, ambiguous: false };
  const slash = rawPath.indexOf("/", 1);
  const rawContainer = slash < 0 ? rawPath.slice(1) : rawPath.slice(1, slash);
  const container = percentDecode(rawContainer);
  if (container === null || !isContainerName(container)) return { container: null, blob: null, ambiguous: true };
  if (slash < 0) return { container, blob: null, ambiguous: false };
  const rawBlob = rawPath.slice(slash + 1);
  if (rawBlob.length === 0) return { container, blob: null, ambiguous: true };
  const blob = percentDecode(rawBlob);
  const ambiguous = blob === null || hasForeignCharacters(rawBlob) || rawBlob.includes("#") || isAmbiguousName(blob);
  return { container, blob: blob ?? rawBlob, ambiguous };
}

/** Whether `name` can be a container's: lower-case letters, digits and dashes, or a system one such as `$root`. */
export function isContainerName(name: string): boolean {
  const from = name.charCodeAt(0) === 0x24 ? 1 : 0;
  if (name.length - from < 3 || name.length > 63) return false;
  for (let i = from; i < name.length; i++) {
    const code = name.charCodeAt(i);
    const letter = code >= 0x61 && code <= 0x7a;
    const digit = code >= 0x30 && code <= 0x39;
    if (!letter && !digit && code !== 0x2d) return false;
  }
  return true;
}

/** Whether the service (with or without a hierarchical namespace) might fold `name` into another name. */
function isAmbiguousName(name: string): boolean {
  let segmentLength = 0;
  let previous = 0;
  for (let i = 0; i < name.length; i++) {
    const code = name.charCodeAt(i);
    if (code < 0x20 || (code >= 0x7f && code <= 0x9f) || code === 0x5c || code >= 0xfff0) return true;
    // An empty segment, or one that ends with a dot (which covers `.` and `..`).
    if (code === 0x2f) {
      if (segmentLength === 0 || previous === 0x2e) return true;
      segmentLength = 0;
    } else {
      segmentLength++;
    }
    previous = code;
  }
  return segmentLength === 0 || previous === 0x2e;
}

/** The raw path, without the query, that names the same resource in `style`. */
export function rawPathFor(style: UrlStyle, target: Target): string {
  if (style === target.style) return target.wirePath;
  const rest = target.rawPath.length === 0 ? "/" : target.rawPath;
  if (style === "account") return rest;
  return `/${target.account}${target.secondary ? SECONDARY : ""}${rest}`;
}

/** What a target stands for. */
export function levelOf(target: Target): "service" | "container" | "blob" {
  if (target.blob !== null) return "blob";
  return target.container === null && !target.ambiguous ? "service" : "container";
}
