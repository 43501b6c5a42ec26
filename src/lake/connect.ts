/** From an address to a lake that can be used: the client, its bounds, and the credential put together. */
import { limits } from "../base/limits.ts";
import { createHttpClient } from "../http/client.ts";
import type { Clock } from "../io/clock.ts";
import type { LakeAddress } from "./address.ts";
import { createAzureLake } from "./azure.ts";
import { createTokenSource, type TokenSource } from "./entra.ts";
import type { OwnLake } from "./types.ts";

/** The parts of {@link connectLake}. */
export interface ConnectOptions {
  readonly address: LakeAddress;
  readonly clock: Clock;
  /** PEM of a certificate authority to trust besides the usual ones. */
  readonly ca?: string | undefined;
  readonly connectionsMax?: number | undefined;
  /** Where tokens come from when the credential is `entra`; the default credential chain unless given. */
  readonly tokenSource?: TokenSource | undefined;
}

/** A lake over HTTP connections of its own. Nothing is connected until the first request. */
export function connectLake(options: ConnectOptions): OwnLake {
  const { address, clock } = options;
  const http = createHttpClient({
    hostname: address.hostname,
    port: address.port,
    tls: address.protocol === "https" ? { ca: options.ca, servername: address.serverName } : false,
    hostHeader: address.hostHeader,
    connectionsMax: options.connectionsMax ?? limits.lakeConnectionsMax,
    idleMs: limits.lakeIdleConnectionMs,
    connectTimeoutMs: limits.lakeConnectTimeoutMs,
    firstByteTimeoutMs: limits.lakeFirstByteTimeoutMs,
    stallTimeoutMs: limits.stallTimeoutMs,
    clock,
  });
  const needsTokens = address.credential.kind === "entra";
  const tokenSource = options.tokenSource ?? (needsTokens ? createTokenSource(clock) : undefined);
  return createAzureLake({ address, http, clock, tokenSource });
}
