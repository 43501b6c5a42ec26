/** Doctor's look at what Forebay listens on: addresses and certificates. */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { readFileSync } from "node:fs";
import type { Config, HostPort } from "../src/node/config.ts";
import type { Check } from "./doctor-flash.ts";
import { formatDuration } from "./output.ts";
import { portProblem } from "./ports.ts";

const EXPIRES_SOON_MS = 14 * 86_400_000;
const ANSWER_WITHIN_MS = 2_000;

/** Whether both listeners can be opened; a Forebay that runs here already is no failure. */
export async function checkListening(config: Config): Promise<Check[]> {
  const running = await isForebay(config.admin);
  return [
    await checkPort("Blob endpoint", "--listen", config.listen, running),
    await checkPort("admin API", "--admin", config.admin, running),
  ];
}

async function checkPort(name: string, flag: string, at: HostPort, running: boolean): Promise<Check> {
  const where = `${at.host.includes(":") ? `[${at.host}]` : at.host}:${at.port}`;
  const problem = await portProblem(at.host, at.port);
  if (problem === null) return { name, status: "ok", detail: `${where} is free` };
  if (problem === "EADDRINUSE" && running) {
    return { name, status: "ok", detail: `${where} is in use, and a Forebay runs here` };
  }
  const reason = problem === "EADDRINUSE" ? "is taken by another program" : `cannot be used (${problem})`;
  return {
    name,
    status: "fail",
    detail: `${where} ${reason}`,
    remedy: `end that program, or name another address with ${flag}`,
  };
}

async function isForebay(admin: HostPort): Promise<boolean> {
  if (admin.port === 0) return false;
  const host = admin.host === "0.0.0.0" ? "127.0.0.1" : admin.host === "::" ? "::1" : admin.host;
  const origin = `http://${host.includes(":") ? `[${host}]` : host}:${admin.port}`;
  try {
    const response = await fetch(`${origin}/api/v1/status`, { signal: AbortSignal.timeout(ANSWER_WITHIN_MS) });
    const status: unknown = await response.json();
    return typeof status === "object" && status !== null && "hitRatio" in status;
  } catch {
    return false;
  }
}

/** Whether certificate and key can be read, belong together, and for how long they are good. */
export function checkTls(tls: Config["tls"], nowMs: number): Check[] {
  const name = "TLS";
  if (tls === null) return [];
  let certificate: X509Certificate;
  try {
    certificate = new X509Certificate(readFileSync(tls.certFile));
    const key = createPrivateKey(readFileSync(tls.keyFile));
    if (!certificate.checkPrivateKey(key)) {
      const detail = `${tls.keyFile} is not the key of ${tls.certFile}`;
      return [{ name, status: "fail", detail, remedy: "name the key that belongs to the certificate with --tls-key" }];
    }
  } catch (error) {
    const file = (error as NodeJS.ErrnoException).path ?? `${tls.certFile} or ${tls.keyFile}`;
    const code = (error as NodeJS.ErrnoException).code ?? "unreadable";
    const detail = `${file} cannot be used (${code})`;
    return [
      { name, status: "fail", detail, remedy: "write PEM files that this user may read, the key without a passphrase" },
    ];
  }
  const endsInMs = Date.parse(certificate.validTo) - nowMs;
  if (endsInMs <= 0) {
    const remedy = "renew it; a running Forebay takes the new one on SIGHUP";
    return [{ name, status: "fail", detail: `the certificate ended on ${certificate.validTo}`, remedy }];
  }
  if (Date.parse(certificate.validFrom) > nowMs) {
    const detail = `the certificate begins on ${certificate.validFrom}`;
    return [{ name, status: "fail", detail, remedy: "set this machine's clock, or wait" }];
  }
  const detail = `good for ${formatDuration(endsInMs)}`;
  if (endsInMs > EXPIRES_SOON_MS) return [{ name, status: "ok", detail }];
  return [{ name, status: "warn", detail, remedy: "renew it soon; a running Forebay takes the new one on SIGHUP" }];
}
