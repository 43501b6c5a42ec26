/**
 * What `--lake` takes, and what it means: where to connect, how to name the account in a URL, and with which
 * credential. Errors are one clear line that says what to write; they never repeat a secret.
 *
 * Source: "Configure Azure Storage connection strings", "Create an account SAS" (Azure Storage documentation).
 */
import { ForebayError } from "../base/errors.ts";
import type { UrlStyle } from "./types.ts";

/** How Forebay proves itself to the lake. Nothing of it is ever logged. */
export type LakeCredential =
  | { readonly kind: "key" /** Newest first. */; readonly keys: readonly Uint8Array[] }
  | { readonly kind: "sas" /** Raw, without `?`. */; readonly query: string }
  | { readonly kind: "entra" }
  | { readonly kind: "none" };

/** One account of a lake: its name, where it is, and how it is written in URLs. */
export interface LakeAddress {
  readonly account: string;
  readonly style: UrlStyle;
  readonly protocol: "http" | "https";
  /** Where to connect: the lake's own name, or what an override says. IPv6 without brackets. */
  readonly hostname: string;
  readonly port: number;
  /** The value of the Host header: the lake's own name, whatever the connection goes to. */
  readonly hostHeader: string;
  /** The name that the lake's certificate must carry. */
  readonly serverName: string;
  /** What stands before `/CONTAINER/BLOB` in a path: `/ACCOUNT` in path style, else empty. */
  readonly basePath: string;
  readonly credential: LakeCredential;
}

/** What may be said about a lake apart from its address. */
export interface LakeAddressOptions {
  /** Connect to this `HOST` or `HOST:PORT` instead of what DNS says for the lake's name. */
  readonly connectTo?: string | undefined;
  /** More keys of the account (base64), tried after the one of the connection string. */
  readonly moreKeys?: readonly string[] | undefined;
  /** Use no credential of Forebay's own even where Entra ID would be the default. */
  readonly anonymous?: boolean | undefined;
}

/** Azurite's account and key, which Microsoft publishes: they open nothing but an emulator. */
const DEVELOPMENT = {
  account: "devstoreaccount1",
  key: "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==",
  endpoint: "http://127.0.0.1:10000/devstoreaccount1",
} as const;

const KNOWN_SETTINGS: readonly string[] = [
  "AccountName",
  "AccountKey",
  "SharedAccessSignature",
  "BlobEndpoint",
  "DefaultEndpointsProtocol",
  "EndpointSuffix",
  "UseDevelopmentStorage",
];
/** Legal in a connection string, of no use to a blob service. */
const IGNORED_SETTINGS = /^(developmentstorageproxyuri|(queue|table|file|dfs|web)endpoint|\w+secondaryendpoint)$/;
const FORMS = "write a connection string (AccountName=…;AccountKey=…) or https://ACCOUNT.blob.core.windows.net";

/** Reads a connection string or URL. Throws `config`, with what is wrong and what to write, never a secret. */
export function parseLakeAddress(text: string, options: LakeAddressOptions = {}): LakeAddress {
  const trimmed = text.trim();
  if (trimmed === "") throw wrong(`is empty; ${FORMS}`);
  if (/^https?:\/\//i.test(trimmed)) return fromUrl(trimmed, options);
  if (!trimmed.includes("=")) throw wrong(`is neither a URL nor a connection string; ${FORMS}`);
  return fromConnectionString(trimmed, options);
}

function wrong(what: string): ForebayError {
  return new ForebayError("config", `lake address ${what}`);
}

function fromUrl(text: string, options: LakeAddressOptions): LakeAddress {
  const url = parseUrl(text, "URL");
  const place = placeOf(url, undefined);
  const sas = url.search.slice(1);
  if (sas !== "") {
    requireSas(sas, "the URL's query");
    return finish(url, place, { kind: "sas", query: sas }, options);
  }
  const entra = url.protocol === "https:" && options.anonymous !== true;
  return finish(url, place, entra ? { kind: "entra" } : { kind: "none" }, options);
}

function fromConnectionString(text: string, options: LakeAddressOptions): LakeAddress {
  const settings = readSettings(text);
  const get = (name: string): string | undefined => settings.get(name.toLowerCase());
  if (get("UseDevelopmentStorage")?.toLowerCase() === "true") {
    const url = parseUrl(DEVELOPMENT.endpoint, "BlobEndpoint");
    const keys = [DEVELOPMENT.key, ...(options.moreKeys ?? [])].map((key) => decodeKey(key, "AccountKey"));
    return finish(url, placeOf(url, DEVELOPMENT.account), { kind: "key", keys }, options);
  }
  const url = endpointOf(get);
  const sas = get("SharedAccessSignature")?.replace(/^\?/, "");
  const place = placeOf(url, get("AccountName"));
  const key = get("AccountKey");
  if (key !== undefined) {
    const keys = [decodeKey(key, "AccountKey")];
    for (const more of options.moreKeys ?? []) keys.push(decodeKey(more, "a further account key"));
    return finish(url, place, { kind: "key", keys }, options);
  }
  if (sas !== undefined) {
    requireSas(sas, "SharedAccessSignature");
    return finish(url, place, { kind: "sas", query: sas }, options);
  }
  const entra = url.protocol === "https:" && options.anonymous !== true;
  return finish(url, place, entra ? { kind: "entra" } : { kind: "none" }, options);
}

/** The settings of a connection string by lower-case name. */
function readSettings(text: string): Map<string, string> {
  const settings = new Map<string, string>();
  const known = new Set(KNOWN_SETTINGS.map((name) => name.toLowerCase()));
  for (const part of text.split(";")) {
    if (part.trim() === "") continue;
    const at = part.indexOf("=");
    const name = at < 0 ? "" : part.slice(0, at).trim();
    const key = name.toLowerCase();
    if (!known.has(key) && !IGNORED_SETTINGS.test(key)) {
      // A long "name" is more likely a piece of a secret than a name.
      const shown = /^[A-Za-z]{1,24}$/.test(name) ? `the unknown setting "${name}"` : "a part that is not NAME=VALUE";
      throw wrong(`has ${shown}; a connection string has ${KNOWN_SETTINGS.join(", ")}`);
    }
    if (settings.has(key)) throw wrong(`gives ${name} twice; leave one out`);
    const value = part.slice(at + 1).trim();
    if (value !== "") settings.set(key, value);
  }
  return settings;
}

function endpointOf(get: (name: string) => string | undefined): URL {
  const endpoint = get("BlobEndpoint");
  if (endpoint !== undefined) {
    if (!/^https?:\/\//i.test(endpoint)) throw wrong("has a BlobEndpoint that does not begin with http:// or https://");
    const url = parseUrl(endpoint, "BlobEndpoint");
    if (url.search !== "") throw wrong("has a query in its BlobEndpoint; put the SAS in SharedAccessSignature=…");
    return url;
  }
  const account = get("AccountName");
  if (account === undefined) throw wrong("names no account; add AccountName=… or BlobEndpoint=https://…");
  requireAccountName(account);
  const protocol = (get("DefaultEndpointsProtocol") ?? "https").toLowerCase();
  if (protocol !== "http" && protocol !== "https") {
    throw wrong("has a DefaultEndpointsProtocol that is neither http nor https; leave it out for https");
  }
  return parseUrl(`${protocol}://${account}.blob.${get("EndpointSuffix") ?? "core.windows.net"}`, "EndpointSuffix");
}

function parseUrl(text: string, what: string): URL {
  let url: URL;
  try {
    url = new URL(text);
  } catch {
    throw wrong(`has a ${what} that cannot be read; ${FORMS}`);
  }
  if (url.username !== "" || url.password !== "") {
    throw wrong(`has a user name or password in its ${what}; use AccountKey=… or a SAS`);
  }
  if (url.hash !== "") throw wrong(`has a # in its ${what}; leave it out, or write %23 inside a SAS`);
  return url;
}

interface Place {
  readonly account: string;
  readonly style: UrlStyle;
  readonly basePath: string;
}

/** How the account is written in `url`. `named` is the account's name where it is given apart. */
function placeOf(url: URL, named: string | undefined): Place {
  if (named !== undefined) requireAccountName(named);
  const host = url.hostname.toLowerCase();
  const path = url.pathname.replace(/\/+$/, "");
  const [label = "", second, third] = host.split(".");
  if (second === "dfs") throw wrong(`names the dfs endpoint; write the blob endpoint, https://${label}.blob.…`);
  // ACCOUNT.blob.…, ACCOUNT.z01.blob.… (DNS zones) or ACCOUNT.privatelink.blob.…
  if ((second === "blob" || third === "blob") && !isAddress(host)) {
    if (path !== "")
      throw wrong(`goes beyond the account; leave out "${path}" (policies name containers and prefixes)`);
    if (label.endsWith("-secondary")) throw wrong(`names the secondary endpoint; write ${label.slice(0, -10)}.blob.…`);
    requireAccountName(label);
    if (named !== undefined && named !== label) {
      throw wrong(`names the account "${named}" and the endpoint of "${label}"; make them agree`);
    }
    return { account: label, style: "account", basePath: "" };
  }
  if (path === "") {
    // A custom domain: the account is the connection string's to say.
    if (named !== undefined && !isAddress(host)) return { account: named, style: "account", basePath: "" };
    throw wrong(
      named === undefined
        ? `does not say which account is meant at ${url.host}; write ${url.protocol}//${url.host}/ACCOUNT, or a connection string with AccountName and BlobEndpoint`
        : `has a BlobEndpoint without its account; write BlobEndpoint=${url.protocol}//${url.host}/${named}`,
    );
  }
  const account = path.slice(1);
  if (account.includes("/")) throw wrong(`goes beyond the account; write ${url.protocol}//${url.host}/ACCOUNT`);
  requireAccountName(account);
  if (named !== undefined && named !== account) {
    throw wrong(`names the account "${named}" and the endpoint of "${account}"; make them agree`);
  }
  return { account, style: "path", basePath: `/${account}` };
}

function finish(url: URL, place: Place, credential: LakeCredential, options: LakeAddressOptions): LakeAddress {
  const protocol = url.protocol === "https:" ? "https" : "http";
  const usual = protocol === "https" ? 443 : 80;
  const serverName = unbracket(url.hostname);
  const own = { hostname: serverName, port: url.port === "" ? usual : Number(url.port) };
  const { hostname, port } = options.connectTo === undefined ? own : connectTo(options.connectTo, own.port);
  return { ...place, protocol, hostname, port, hostHeader: url.host, serverName, credential };
}

function connectTo(text: string, usualPort: number): { hostname: string; port: number } {
  const match = /^(\[[0-9a-fA-F:.]+\]|[^\s:/?#@[\]]+)(?::(\d{1,5}))?$/.exec(text.trim());
  const port = match?.[2] === undefined ? usualPort : Number(match[2]);
  if (match?.[1] === undefined || port < 1 || port > 65_535) {
    throw wrong(`has the override "${text}"; write HOST or HOST:PORT, for example 10.1.2.3:443`);
  }
  return { hostname: unbracket(match[1]), port };
}

function unbracket(host: string): string {
  return host.startsWith("[") ? host.slice(1, -1) : host;
}

/** Whether `host` is an IP address or this machine's name, which carry no account. */
function isAddress(host: string): boolean {
  return host === "localhost" || host.startsWith("[") || /^\d+\.\d+\.\d+\.\d+$/.test(host);
}

function requireAccountName(name: string): void {
  if (!/^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/.test(name)) {
    throw wrong("names an account that cannot exist; account names are lower-case letters and digits");
  }
}

function requireSas(query: string, where: string): void {
  const names = query.split("&").map((part) => part.split("=", 1)[0]);
  if (!names.includes("sig")) throw wrong(`has no signature (sig=…) in ${where}; copy the whole SAS`);
  if (!names.includes("sv")) throw wrong(`has no version (sv=…) in ${where}; copy the whole SAS`);
}

function decodeKey(text: string, what: string): Uint8Array {
  if (text === "" || text.length % 4 !== 0 || !/^[A-Za-z0-9+/]+={0,2}$/.test(text)) {
    throw wrong(`has an account key that is not base64 (${what}); copy it whole, with the = at its end`);
  }
  return new Uint8Array(Buffer.from(text, "base64"));
}
