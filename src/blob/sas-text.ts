/**
 * The texts that shared access signatures sign, by version, and the making of a signature.
 *
 * Sources: "Create a service SAS" and "Create an account SAS" in the REST documentation.
 */
import { formatSasTime } from "./dates.ts";
import { type AccountKey, sign } from "./hmac.ts";
import { OWN_VERSION } from "./versions.ts";

/** The fields of a SAS, decoded; empty where it has none. */
export interface SasFields {
  readonly sv: string;
  readonly sp: string;
  readonly st: string;
  readonly se: string;
  readonly sip: string;
  readonly spr: string;
  readonly ses: string;
  /** Account SAS. */
  readonly ss: string;
  readonly srt: string;
  /** Service SAS. */
  readonly sr: string;
  readonly si: string;
  readonly rscc: string;
  readonly rscd: string;
  readonly rsce: string;
  readonly rscl: string;
  readonly rsct: string;
}

/** The text of an account SAS (2015-04-05 and later). It ends with a line feed. */
export function accountSasText(account: string, f: SasFields): string {
  const text = `${account}\n${f.sp}\n${f.ss}\n${f.srt}\n${f.st}\n${f.se}\n${f.sip}\n${f.spr}\n${f.sv}\n`;
  return f.sv >= "2020-12-06" ? `${text}${f.ses}\n` : text;
}

/**
 * The text of a service SAS of the Blob service (2012-02-12 and later).
 *
 * @param resource `/ACCOUNT/CONTAINER[/BLOB]`, decoded.
 * @param versionTime The snapshot's time (`sr=bs`) or the version's id (`sr=bv`), else empty.
 */
export function serviceSasText(resource: string, versionTime: string, f: SasFields): string {
  const service = f.sv >= "2015-02-21" ? "/blob" : "";
  const head = `${f.sp}\n${f.st}\n${f.se}\n${service}${resource}\n${f.si}\n`;
  if (f.sv < "2013-08-15") return head + f.sv;
  const overrides = `${f.rscc}\n${f.rscd}\n${f.rsce}\n${f.rscl}\n${f.rsct}`;
  if (f.sv < "2015-04-05") return `${head}${f.sv}\n${overrides}`;
  const protocol = `${head}${f.sip}\n${f.spr}\n${f.sv}\n`;
  if (f.sv < "2018-11-09") return protocol + overrides;
  const kind = `${protocol}${f.sr}\n${versionTime}\n`;
  return f.sv < "2020-12-06" ? kind + overrides : `${kind}${f.ses}\n${overrides}`;
}

const EMPTY: SasFields = {
  sv: OWN_VERSION,
  sp: "",
  st: "",
  se: "",
  sip: "",
  spr: "",
  ses: "",
  ss: "",
  srt: "",
  sr: "",
  si: "",
  rscc: "",
  rscd: "",
  rsce: "",
  rscl: "",
  rsct: "",
};

/** What a new SAS shall grant. */
export interface SasWish {
  /** In the documented order, for example `r`, `rl` or `racwdl`. */
  readonly permissions: string;
  readonly expiresAtMs: number;
  readonly startsAtMs?: number | undefined;
  readonly httpsOnly?: boolean | undefined;
}

function fieldsOf(wish: SasWish): SasFields {
  return {
    ...EMPTY,
    sp: wish.permissions,
    se: formatSasTime(wish.expiresAtMs),
    st: wish.startsAtMs === undefined ? "" : formatSasTime(wish.startsAtMs),
    spr: wish.httpsOnly ? "https" : "",
  };
}

function queryOf(fields: SasFields, signature: string): string {
  let query = "";
  for (const [name, value] of Object.entries({ ...fields, sig: signature })) {
    if (value !== "") query += `${query === "" ? "" : "&"}${name}=${encodeURIComponent(value)}`;
  }
  return query;
}

/** A new account SAS for the Blob service's containers and blobs, as a query without `?`. */
export function createAccountSas(account: string, key: AccountKey, wish: SasWish): string {
  const fields = { ...fieldsOf(wish), ss: "b", srt: "co" };
  return queryOf(fields, sign(accountSasText(account, fields), key));
}

/** A new service SAS for a container, or for one blob of it (decoded name), as a query without `?`. */
export function createServiceSas(
  account: string,
  key: AccountKey,
  resource: { readonly container: string; readonly blob?: string | undefined },
  wish: SasWish,
): string {
  const { container, blob } = resource;
  const fields = { ...fieldsOf(wish), sr: blob === undefined ? "c" : "b" };
  const path = `/${account}/${container}${blob === undefined ? "" : `/${blob}`}`;
  return queryOf(fields, sign(serviceSasText(path, "", fields), key));
}
