/** Doctor's look at the lake: is it there, does it take the credential, do the clocks agree. */
import { asForebayError } from "../src/base/errors.ts";
import { limits } from "../src/base/limits.ts";
import { realClock } from "../src/io/clock.ts";
import { parseLakeAddress } from "../src/lake/address.ts";
import { connectLake } from "../src/lake/connect.ts";
import { type LakeProbe, probeLake } from "../src/lake/probe.ts";
import type { Config } from "../src/node/config.ts";
import { type LakeConfig, lakeOptions } from "../src/node/config-lake.ts";
import type { Check } from "./doctor-flash.ts";

const SKEW_WORTH_SAYING_MS = 60_000;

/** Findings about every lake. */
export async function checkLakes(config: Config): Promise<Check[]> {
  return (await Promise.all(config.lakes.map(checkLake))).flat();
}

async function checkLake(lake: LakeConfig): Promise<Check[]> {
  const name = `lake ${lake.name}`;
  try {
    const address = parseLakeAddress(lake.connection, lakeOptions(lake));
    const probed = connectLake({ address, clock: realClock, connectionsMax: 1 });
    const probe = await probeLake(probed, realClock);
    probed.close();
    return judgeProbe(
      name,
      `${address.protocol}://${address.hostname}:${address.port}`,
      address.credential.kind,
      probe,
    );
  } catch (error) {
    return [{ name, status: "fail", detail: asForebayError(error).message }];
  }
}

/** What a probe means, for people. */
export function judgeProbe(name: string, where: string, credential: string, probe: LakeProbe): Check[] {
  if (!probe.reachable && probe.credentialOk !== false) {
    const remedy = "check the address, DNS, proxies and firewalls between this machine and the lake";
    return [{ name, status: "fail", detail: `${where}: ${probe.error ?? "no answer"}`, remedy }];
  }
  const checks: Check[] = [];
  if (probe.reachable) {
    checks.push({
      name,
      status: "ok",
      detail: `${where} answers within ${Math.max(1, Math.round(probe.latencyMs))} ms`,
    });
  }
  checks.push(judgeCredential(`${name}: credential`, credential, probe));
  if (probe.clockSkewMs !== null) checks.push(judgeSkew(`${name}: clock`, probe.clockSkewMs));
  return checks;
}

function judgeCredential(name: string, credential: string, probe: LakeProbe): Check {
  const kind = { key: "account key", sas: "SAS", entra: "Entra ID", none: "none" }[credential] ?? credential;
  if (credential === "none") {
    const remedy = "every caller's own is used; with one of its own Forebay can fill and check by itself";
    return { name, status: "warn", detail: "Forebay has none", remedy };
  }
  if (probe.credentialOk === true && !probe.limited) return { name, status: "ok", detail: `${kind}, accepted` };
  if (probe.credentialOk === true) {
    const remedy = "enough if it may read the containers in use; else grant it read and list on the account";
    return { name, status: "warn", detail: `${kind}, accepted, but it may not list the account`, remedy };
  }
  const detail = `${kind}, ${probe.credentialOk === false ? "refused" : "not judged"}: ${probe.error ?? "no reason given"}`;
  const remedy =
    credential === "entra"
      ? "sign in or set up a managed identity, and give it the role Storage Blob Data Reader or Contributor"
      : "copy the connection string or the SAS afresh; see that it has not ended and that its network rules admit us";
  return { name, status: probe.credentialOk === false ? "fail" : "warn", detail, remedy };
}

function judgeSkew(name: string, skewMs: number): Check {
  const away = Math.abs(skewMs);
  const detail =
    away < 2_000
      ? "agrees with the lake's"
      : `${Math.round(away / 1000)} s ${skewMs > 0 ? "behind" : "ahead of"} the lake's`;
  if (away < SKEW_WORTH_SAYING_MS) return { name, status: "ok", detail };
  const remedy = "set this machine's clock (NTP): the lake refuses signatures that are 15 minutes off";
  return { name, status: away > limits.clockSkewMs ? "fail" : "warn", detail, remedy };
}
