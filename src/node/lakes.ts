/** The configured lakes as clients: connections, credentials, and how they are addressed. */
import { readFileSync } from "node:fs";
import { realClock } from "../io/clock.ts";
import { type LakeAddress, parseLakeAddress } from "../lake/address.ts";
import { connectLake } from "../lake/connect.ts";
import type { OwnLake } from "../lake/types.ts";
import type { Config } from "./config.ts";
import { lakeOptions } from "./config-lake.ts";

/** One account: its address and a client for it. */
export interface LakeClient {
  readonly address: LakeAddress;
  readonly lake: OwnLake;
  /** The same account with each of its keys alone, for the watch over them; empty when the credential is no key. */
  readonly perKey: readonly OwnLake[];
}

/** Clients for all configured accounts, by account. */
export function openLakes(config: Config): Map<string, LakeClient> {
  const ca = extraAuthorities();
  return new Map(
    config.lakes.map((configured) => {
      const address = parseLakeAddress(configured.connection, lakeOptions(configured));
      const { credential } = address;
      const keys = credential.kind === "key" ? credential.keys : [];
      const perKey = keys.map((key) =>
        connectLake({ address: { ...address, credential: { kind: "key", keys: [key] } }, clock: realClock, ca }),
      );
      return [address.account, { address, lake: connectLake({ address, clock: realClock, ca }), perKey }];
    }),
  );
}

/** `http[s]://HOST[:PORT]` as the lake itself is addressed, whatever the connection goes to. */
export function lakeOrigin(address: LakeAddress): string {
  return `${address.protocol}://${address.hostHeader}`;
}

/** Certificate authorities beside the usual ones, as Node's own variable names them (a private CA, a test). */
function extraAuthorities(): string | undefined {
  const path = process.env["NODE_EXTRA_CA_CERTS"];
  return path === undefined || path === "" ? undefined : readFileSync(path, "utf8");
}
