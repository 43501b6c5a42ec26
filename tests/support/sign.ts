/**
 * Signatures of the Blob service written a second time, from the public documentation alone ("Authorize with Shared
 * Key", "Create an account SAS", "Create a service SAS"): what the product signs and verifies is judged by these.
 */
import { createHmac } from "node:crypto";

type Headers = readonly (readonly [name: string, value: string])[];

/** HMAC-SHA256 of `text` with a base64 key, as base64. */
export function hmac(key: string, text: string): string {
  return createHmac("sha256", Buffer.from(key, "base64")).update(text, "utf8").digest("base64");
}

const fieldOf = (headers: Headers, name: string): string =>
  headers.find(([key]) => key.toLowerCase() === name)?.[1] ?? "";

function canonicalHeaders(headers: Headers): string {
  return headers
    .map(([name, value]) => [name.toLowerCase(), value.trim()] as const)
    .filter(([name]) => name.startsWith("x-ms-"))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([name, value]) => `${name}:${value}\n`)
    .join("");
}

/** Decoded, or as it is where the escapes are broken. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

function canonicalResource(account: string, target: string): string {
  const mark = target.indexOf("?");
  const path = mark < 0 ? target : target.slice(0, mark);
  const parameters = new Map<string, string[]>();
  for (const pair of mark < 0 ? [] : target.slice(mark + 1).split("&")) {
    if (pair === "") continue;
    const equals = pair.indexOf("=");
    const name = decoded(equals < 0 ? pair : pair.slice(0, equals)).toLowerCase();
    const value = equals < 0 ? "" : decoded(pair.slice(equals + 1).replaceAll("+", "%20"));
    parameters.set(name, [...(parameters.get(name) ?? []), value]);
  }
  const lines = [...parameters].sort(([a], [b]) => (a < b ? -1 : 1)).map(([n, v]) => `\n${n}:${v.sort().join(",")}`);
  return `/${account}${path}${lines.join("")}`;
}

/** What a SharedKey signature covers. */
export interface ToSign {
  readonly method: string;
  /** The raw request target. */
  readonly target: string;
  readonly headers: Headers;
  /** 0 or undefined signs an empty Content-Length. */
  readonly contentLength?: number | undefined;
}

/** The value of `Authorization` for SharedKey. */
export function sharedKey(account: string, key: string, request: ToSign): string {
  const { headers } = request;
  const length = request.contentLength === undefined || request.contentLength === 0 ? "" : `${request.contentLength}`;
  const text = [
    request.method,
    fieldOf(headers, "content-encoding"),
    fieldOf(headers, "content-language"),
    length,
    fieldOf(headers, "content-md5"),
    fieldOf(headers, "content-type"),
    fieldOf(headers, "x-ms-date") === "" ? fieldOf(headers, "date") : "",
    fieldOf(headers, "if-modified-since"),
    fieldOf(headers, "if-match"),
    fieldOf(headers, "if-none-match"),
    fieldOf(headers, "if-unmodified-since"),
    fieldOf(headers, "range"),
    canonicalHeaders(headers) + canonicalResource(account, request.target),
  ].join("\n");
  return `SharedKey ${account}:${hmac(key, text)}`;
}

/** The value of `Authorization` for SharedKeyLite. */
export function sharedKeyLite(account: string, key: string, request: ToSign): string {
  const { headers } = request;
  const path = request.target.split("?")[0] ?? "";
  const comp = /[?&]comp=([^&]*)/.exec(request.target)?.[1];
  const text = [
    request.method,
    fieldOf(headers, "content-md5"),
    fieldOf(headers, "content-type"),
    fieldOf(headers, "x-ms-date") === "" ? fieldOf(headers, "date") : "",
    `${canonicalHeaders(headers)}/${account}${path}${comp === undefined ? "" : `?comp=${comp}`}`,
  ].join("\n");
  return `SharedKeyLite ${account}:${hmac(key, text)}`;
}

/** Parameters of a SAS by their names in the query, e.g. `{ sp: "r", se: "2030-01-01T00:00:00Z" }`. */
export type SasParameters = Readonly<Record<string, string>>;

const query = (parameters: SasParameters): string =>
  Object.entries(parameters)
    .map(([name, value]) => `${name}=${encodeURIComponent(value)}`)
    .join("&");

/** An account SAS (version 2020-12-06 and later), as a query without `?`. */
export function accountSas(account: string, key: string, parameters: SasParameters): string {
  const p = (name: string): string => parameters[name] ?? "";
  const fields = [account, p("sp"), p("ss"), p("srt"), p("st"), p("se"), p("sip"), p("spr"), p("sv")];
  if (p("sv") >= "2020-12-06") fields.push(p("ses"));
  return query({ ...parameters, sig: hmac(key, `${fields.join("\n")}\n`) });
}

/** A service SAS (version 2018-11-09 and later) for `container` or `container/blob`, as a query without `?`. */
export function serviceSas(account: string, key: string, resource: string, parameters: SasParameters): string {
  const p = (name: string): string => parameters[name] ?? "";
  const fields = [p("sp"), p("st"), p("se"), `/blob/${account}/${resource}`, p("si"), p("sip"), p("spr"), p("sv")];
  fields.push(p("sr"), p("snapshot"));
  if (p("sv") >= "2020-12-06") fields.push(p("ses"));
  fields.push(p("rscc"), p("rscd"), p("rsce"), p("rscl"), p("rsct"));
  return query({ ...parameters, sig: hmac(key, fields.join("\n")) });
}

/** A JSON Web Token with the claims that Azurite checks; the signature is not one. */
export function bearerToken(claims: Readonly<Record<string, unknown>> = {}): string {
  const nowSeconds = Math.floor(Date.now() / 1000);
  const part = (value: unknown): string => Buffer.from(JSON.stringify(value)).toString("base64url");
  const payload = {
    aud: "https://storage.azure.com",
    iss: "https://sts.windows.net/ab1f708d-50f6-404c-a006-d71b2ac7a606/",
    iat: nowSeconds - 60,
    nbf: nowSeconds - 60,
    exp: nowSeconds + 3600,
    oid: "11059fcc-5514-4800-b5f8-49808b9cfab6",
    tid: "ab1f708d-50f6-404c-a006-d71b2ac7a606",
    ...claims,
  };
  return `${part({ typ: "JWT", alg: "RS256" })}.${part(payload)}.${Buffer.from("no signature").toString("base64url")}`;
}
