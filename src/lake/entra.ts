/**
 * Tokens of Microsoft Entra ID for the lake, from the usual chain of default credentials (environment, workload
 * identity, managed identity, developer tools). A token is kept until near its end, renewed while it still serves,
 * and asked for once however many wait. It is never logged, and no error carries it.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";

/** Gives bearer tokens for the lake. */
export interface TokenSource {
  /**
   * A token that is valid now. Rejects with `config` when no credential is set up on this machine, and with
   * `lake-unreachable` when one is, but gave no token this time.
   */
  token(): Promise<string>;
}

/** What is needed of a credential of `@azure/identity`. */
export interface TokenGiver {
  getToken(
    scope: string,
    options: { abortSignal: AbortSignal },
  ): Promise<{ readonly token: string; readonly expiresOnTimestamp: number } | null>;
}

/** The resource that tokens for Azure Storage are issued for. */
const STORAGE_SCOPE = "https://storage.azure.com/.default";

/**
 * A source of tokens. `load` gives the credential on first use; the default is `DefaultAzureCredential`, loaded only
 * then because it is large and most set-ups use a key.
 */
export function createTokenSource(clock: Clock, load: () => Promise<TokenGiver> = defaultCredential): TokenSource {
  let giver: Promise<TokenGiver> | undefined;
  let held: { readonly token: string; readonly expiresAtMs: number } | undefined;
  let asking: Promise<string> | undefined;
  let failed: { readonly error: ForebayError; readonly atMs: number } | undefined;

  const ask = async (): Promise<string> => {
    try {
      giver ??= load();
      const given = await withTimeout(clock, await giver);
      held = { token: given.token, expiresAtMs: given.expiresOnTimestamp };
      failed = undefined;
      return given.token;
    } catch (cause) {
      giver = undefined;
      const error = explain(cause);
      failed = { error, atMs: clock.monotonicMs() };
      throw error;
    }
  };
  const askOnce = (): Promise<string> => {
    asking ??= ask().finally(() => {
      asking = undefined;
    });
    return asking;
  };

  return {
    token: async () => {
      const leftMs = held === undefined ? 0 : held.expiresAtMs - clock.wallMs();
      const pausing = failed !== undefined && clock.monotonicMs() - failed.atMs < limits.entraFailurePauseMs;
      if (held !== undefined && leftMs > 0) {
        // The renewal's failure shows when the token that still serves has ended.
        if (leftMs < limits.entraRefreshAheadMs && !pausing) askOnce().catch(() => {});
        return held.token;
      }
      if (failed !== undefined && pausing) throw failed.error;
      return askOnce();
    },
  };
}

async function defaultCredential(): Promise<TokenGiver> {
  const { DefaultAzureCredential } = await import("@azure/identity");
  return new DefaultAzureCredential();
}

async function withTimeout(clock: Clock, giver: TokenGiver): Promise<{ token: string; expiresOnTimestamp: number }> {
  const abort = new AbortController();
  const late = new Promise<never>((_, reject) => {
    const timer = clock.after(limits.entraTimeoutMs, () => {
      reject(new Error(`no answer within ${limits.entraTimeoutMs / 1000} s`));
      abort.abort();
    });
    abort.signal.addEventListener("abort", () => timer.cancel());
  });
  try {
    const given = await Promise.race([giver.getToken(STORAGE_SCOPE, { abortSignal: abort.signal }), late]);
    if (given === null) throw new Error("the credential gave no token");
    return given;
  } finally {
    abort.abort();
  }
}

/** One line that helps. The library's own text can run to pages: its first line says what matters. */
function explain(cause: unknown): ForebayError {
  const name = cause instanceof Error ? cause.name : "";
  const line = (cause instanceof Error ? cause.message : String(cause)).split("\n", 1)[0]?.slice(0, 200) ?? "";
  if (name === "CredentialUnavailableError" || name === "AggregateAuthenticationError") {
    return new ForebayError(
      "config",
      "no Entra ID credential could be had for the lake: sign in (az login), set AZURE_CLIENT_ID, AZURE_TENANT_ID and " +
        "AZURE_CLIENT_SECRET, run with a managed identity, or give a connection string or SAS instead",
      { retryable: true },
    );
  }
  return new ForebayError(
    "lake-unreachable",
    `Entra ID gave no token for the lake: ${name === "" ? "" : `${name}: `}${line}`,
  );
}
