/** The certificate and key of the Blob endpoint, read and judged before anything is changed by them. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import { asForebayError, ForebayError } from "../base/errors.ts";
import type { TlsFiles } from "../http/server.ts";
import type { Config } from "./config.ts";

/** The PEM texts, or undefined for plain http. Throws `config` when a file cannot be read or the two do not fit. */
export function readTls(config: Pick<Config, "tls">): TlsFiles | undefined {
  if (config.tls === null) return undefined;
  const { certFile, keyFile } = config.tls;
  const cert = attempt("tlsCert", `${certFile} cannot be read`, () => readFileSync(certFile, "utf8"));
  const key = attempt("tlsKey", `${keyFile} cannot be read`, () => readFileSync(keyFile, "utf8"));
  const leaf = attempt("tlsCert", `${certFile} holds no certificate`, () => new X509Certificate(cert));
  const secret = attempt("tlsKey", `${keyFile} holds no private key`, () => createPrivateKey(key));
  if (leaf.checkPrivateKey(secret)) return { cert, key };
  throw new ForebayError("config", `tlsKey: ${keyFile} is not the key of the certificate in ${certFile}`);
}

function attempt<T>(setting: string, problem: string, run: () => T): T {
  try {
    return run();
  } catch (cause) {
    const { message } = asForebayError(cause);
    throw new ForebayError("config", `${setting}: ${problem} (${message})`, { cause });
  }
}
