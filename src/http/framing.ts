/**
 * What a head means: the request line and its target, the host, and how long the body is (RFC 9112, 3, 6). A length
 * that could be read in two ways is refused, never repaired.
 */
import { type HeadScanner, HttpRefusal, TARGET_TEXT, TOKEN } from "./head.ts";
import { isNamed, type RawHeaders, type RequestHead, type ResponseHead } from "./types.ts";

/** How the end of a body is found. `close`: at the end of the connection (responses only). */
export type Framing =
  | { readonly kind: "none" }
  | { readonly kind: "length"; readonly lengthBytes: number }
  | { readonly kind: "chunked" }
  | { readonly kind: "close" };

const NONE: Framing = { kind: "none" };
const CHUNKED: Framing = { kind: "chunked" };
const UNTIL_CLOSE: Framing = { kind: "close" };

/** A request's head with what follows from it. */
export interface ParsedRequest {
  readonly head: RequestHead;
  readonly framing: Framing;
  /** The client allows the connection to be used again. */
  readonly keepAlive: boolean;
  /** The client waits for 100 before it sends its body. */
  readonly expectsContinue: boolean;
}

/** A response's head with what follows from it. */
export interface ParsedResponse {
  readonly head: ResponseHead;
  readonly framing: Framing;
  readonly keepAlive: boolean;
}

/** The fields that decide about framing, gathered in one pass. */
interface Control {
  hostAt: number;
  lengthBytes: number;
  isChunked: boolean;
  isClose: boolean;
  isKeepAlive: boolean;
  expect: string | undefined;
}

/** Reads the request in `scanner`, which has seen the end of its head. Throws {@link HttpRefusal}. */
export function parseRequest(scanner: HeadScanner): ParsedRequest {
  const line = scanner.startLine;
  let methodEnd = 0;
  while (TOKEN[line.charCodeAt(methodEnd)] === 1) methodEnd++;
  if (methodEnd === 0 || line.charCodeAt(methodEnd) !== 32) {
    throw new HttpRefusal(400, "The request line does not begin with a method and one space.");
  }
  const targetAt = methodEnd + 1;
  let targetEnd = targetAt;
  while (TARGET_TEXT[line.charCodeAt(targetEnd)] === 1) targetEnd++;
  if (targetEnd === targetAt || line.charCodeAt(targetEnd) !== 32) {
    throw new HttpRefusal(400, "The request line is not a method, a target and a version with one space between.");
  }
  const minorVersion = minorVersionOf(line, targetEnd + 1);
  if (line.length !== targetEnd + 9) throw new HttpRefusal(400, "The request line has more than three parts.");
  const method = line.slice(0, methodEnd);
  const control = controlOf(scanner.fields, minorVersion);
  const { target, headers } = routeOf(method, line.slice(targetAt, targetEnd), scanner.fields, control.hostAt);
  if (minorVersion === 1 && control.hostAt < 0) throw new HttpRefusal(400, "The Host header is missing.");
  return {
    head: { method, target, minorVersion, headers },
    framing: control.isChunked ? CHUNKED : control.lengthBytes > 0 ? lengthOf(control.lengthBytes) : NONE,
    keepAlive: minorVersion === 1 ? !control.isClose : control.isKeepAlive && !control.isClose,
    expectsContinue: minorVersion === 1 && expectsContinue(control.expect),
  };
}

const lengthOf = (lengthBytes: number): Framing => ({ kind: "length", lengthBytes });

function expectsContinue(expect: string | undefined): boolean {
  if (expect === undefined) return false;
  if (expect.toLowerCase() === "100-continue") return true;
  throw new HttpRefusal(417, "Only the expectation 100-continue is known.");
}

/** The minor version of `HTTP/1.x` at `at`. */
function minorVersionOf(line: string, at: number): number {
  if (line.startsWith("HTTP/1.1", at)) return 1;
  if (line.startsWith("HTTP/1.0", at)) return 0;
  if (/^HTTP\/\d\.\d$/.test(line.slice(at))) throw new HttpRefusal(505, "Only HTTP/1.1 and HTTP/1.0 are spoken.");
  throw new HttpRefusal(400, "The request line does not end with a version of HTTP.");
}

/** The origin-form of the target, and the headers with the Host that an absolute target names (RFC 9112, 3.2.2). */
function routeOf(
  method: string,
  target: string,
  headers: RawHeaders,
  hostAt: number,
): { target: string; headers: RawHeaders } {
  if (method === "CONNECT") throw new HttpRefusal(501, "CONNECT is not served.");
  if (target.charCodeAt(0) === 47) return { target, headers };
  if (target === "*" && method === "OPTIONS") return { target, headers };
  const lower = target.slice(0, 8).toLowerCase();
  const authorityAt = lower.startsWith("http://") ? 7 : lower === "https://" ? 8 : 0;
  if (authorityAt === 0) throw new HttpRefusal(400, "The request target is neither a path nor an http URL.");
  let end = authorityAt;
  while (end < target.length && !isAuthorityEnd(target.charCodeAt(end))) end++;
  const host = target.slice(authorityAt, end);
  if (host === "") throw new HttpRefusal(400, "The request target has no host.");
  checkHost(host);
  const rest = target.slice(end);
  const path = rest.charCodeAt(0) === 47 ? rest : `/${rest}`;
  if (hostAt < 0) return { target: path, headers: [...headers, "Host", host] };
  const replaced = headers.slice();
  replaced[hostAt + 1] = host;
  return { target: path, headers: replaced };
}

const isAuthorityEnd = (code: number): boolean => code === 47 || code === 63 || code === 35;

const HOST_SIGNS = "-._~!$&'()*+,;=:[]%";

/** Refuses what cannot be `uri-host [":" port]`. Empty is allowed (RFC 9110, 7.2). */
function checkHost(host: string): void {
  for (let i = 0; i < host.length; i++) {
    const code = host.charCodeAt(i);
    const plain = (code >= 97 && code <= 122) || (code >= 48 && code <= 58) || (code >= 65 && code <= 90);
    if (!plain && !HOST_SIGNS.includes(host.charAt(i))) throw new HttpRefusal(400, "The host is not a valid one.");
  }
}

function controlOf(headers: RawHeaders, minorVersion: number): Control {
  const control: Control = {
    hostAt: -1,
    lengthBytes: -1,
    isChunked: false,
    isClose: false,
    isKeepAlive: false,
    expect: undefined,
  };
  for (let i = 0; i < headers.length; i += 2) {
    const name = headers[i] as string;
    const value = headers[i + 1] as string;
    // Only names of these lengths matter here: the others cost one look.
    switch (name.length) {
      case 4:
        if (isNamed(name, "host")) takeHost(control, value, i);
        break;
      case 6:
        if (isNamed(name, "expect")) takeExpect(control, value);
        break;
      case 10:
        if (isNamed(name, "connection")) takeConnection(control, value);
        break;
      case 14:
        if (isNamed(name, "content-length")) takeLength(control, value);
        break;
      case 17:
        if (isNamed(name, "transfer-encoding")) takeCoding(control, value, minorVersion);
        break;
    }
  }
  if (control.isChunked && control.lengthBytes >= 0) {
    throw new HttpRefusal(400, "Both Content-Length and Transfer-Encoding are given.");
  }
  return control;
}

function takeExpect(control: Control, value: string): void {
  control.expect = control.expect === undefined ? value : `${control.expect}, ${value}`;
}

function takeHost(control: Control, value: string, at: number): void {
  if (control.hostAt >= 0) throw new HttpRefusal(400, "The Host header is given twice.");
  checkHost(value);
  control.hostAt = at;
}

function takeConnection(control: Control, value: string): void {
  if (isNamed(value, "keep-alive")) {
    control.isKeepAlive = true;
    return;
  }
  for (const option of value.toLowerCase().split(",")) {
    const word = option.trim();
    if (word === "close") control.isClose = true;
    else if (word === "keep-alive") control.isKeepAlive = true;
  }
}

function takeLength(control: Control, value: string): void {
  if (control.lengthBytes >= 0) throw new HttpRefusal(400, "Content-Length is given twice.");
  const length = decimalOf(value);
  if (length < 0) throw new HttpRefusal(400, "Content-Length is not a number of bytes.");
  control.lengthBytes = length;
}

/** The value of a string of digits below 2^53, or -1. */
function decimalOf(text: string): number {
  if (text.length === 0 || text.length > 15) return -1;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 48;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

function takeCoding(control: Control, value: string, minorVersion: number): void {
  if (minorVersion === 0) throw new HttpRefusal(400, "Transfer-Encoding does not exist in HTTP/1.0.");
  if (control.isChunked) throw new HttpRefusal(400, "Transfer-Encoding is given twice.");
  if (value.toLowerCase() !== "chunked") throw new HttpRefusal(501, "Only the transfer coding chunked is known.");
  control.isChunked = true;
}

/** Reads the response in `scanner` to a request of `method`. Throws {@link HttpRefusal}. */
export function parseResponse(scanner: HeadScanner, method: string): ParsedResponse {
  const line = scanner.startLine;
  const minorVersion = minorVersionOf(line.slice(0, 8), 0);
  const status = decimalOf(line.slice(9, 12));
  const reasonAt = line.charCodeAt(12) === 32 ? 13 : 12;
  if (line.charCodeAt(8) !== 32 || line.length < 12 || status < 100 || (line.length > 12 && reasonAt === 12)) {
    throw new HttpRefusal(502, "The status line is malformed.");
  }
  const control = controlOf(scanner.fields, minorVersion);
  const hasNoBody = method === "HEAD" || status < 200 || status === 204 || status === 304;
  const framing = hasNoBody
    ? NONE
    : control.isChunked
      ? CHUNKED
      : control.lengthBytes > 0
        ? lengthOf(control.lengthBytes)
        : control.lengthBytes === 0
          ? NONE
          : UNTIL_CLOSE;
  return {
    head: { status, reason: line.slice(reasonAt), headers: scanner.fields },
    framing,
    keepAlive: framing.kind !== "close" && !control.isClose && (minorVersion === 1 || control.isKeepAlive),
  };
}
