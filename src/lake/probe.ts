/**
 * One cheap request that changes nothing: is the lake there, does it take our credential, and do the clocks agree?
 * `doctor`, `/readyz` and the watch over our own credential ask this.
 */
import { asForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { headerOf } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";
import { errorCodeOf, readText } from "./answers.ts";
import type { LakeOwnRequest, OwnLake } from "./types.ts";

/** What a probe found. */
export interface LakeProbe {
  /** Whether anything that speaks HTTP answered. */
  readonly reachable: boolean;
  /** Whether the lake took Forebay's own credential; null when there is none, or when the answer does not tell. */
  readonly credentialOk: boolean | null;
  /** Whether the credential was taken but lacks the right to list: it may still be enough for its own containers. */
  readonly limited: boolean;
  readonly status: number | null;
  /** How far the lake's clock is ahead of ours, to about a second; null without a usable Date. */
  readonly clockSkewMs: number | null;
  readonly latencyMs: number;
  /** One line: what is wrong, and where it helps, what to do. Never a secret. */
  readonly error?: string;
}

/** Whether a refusal's code says that the credential is good, but has no right to what was asked. */
export function lacksRight(code: string | undefined): boolean {
  return code !== undefined && RECOGNISED.has(code);
}

/** The lake's refusals that come after it has recognised the credential. */
const RECOGNISED: ReadonlySet<string> = new Set([
  "AuthorizationPermissionMismatch",
  "AuthorizationResourceTypeMismatch",
  "AuthorizationServiceMismatch",
  "ContainerNotFound",
]);

/**
 * Probes the lake; never rejects. `container` is asked instead of the account, for a SAS that is good for one
 * container only.
 */
export async function probeLake(
  lake: OwnLake,
  clock: Clock,
  options: { container?: string; timeoutMs?: number } = {},
): Promise<LakeProbe> {
  const { container } = options;
  const abort = new AbortController();
  const timer = clock.after(options.timeoutMs ?? limits.lakeProbeTimeoutMs, () => abort.abort());
  const startMs = clock.monotonicMs();
  const startWallMs = clock.wallMs();
  try {
    const response = await ask(lake, container, abort.signal);
    const latencyMs = clock.monotonicMs() - startMs;
    const { status, headers } = response.head;
    const lakeMs = Date.parse(headerOf(headers, "date") ?? "");
    // The header tells whole seconds: half a second is the best guess at the rest.
    const clockSkewMs = Number.isNaN(lakeMs) ? null : Math.round(lakeMs + 500 - (startWallMs + clock.wallMs()) / 2);
    const text = await readText(response.body).catch(() => "");
    return {
      reachable: true,
      status,
      clockSkewMs,
      latencyMs,
      ...judge(lake, status, errorCodeOf(response, text), clockSkewMs),
    };
  } catch (error) {
    const latencyMs = clock.monotonicMs() - startMs;
    const { code, message } = asForebayError(error);
    const text = abort.signal.aborted ? "the lake did not answer in time" : message;
    // Without a token nothing was asked of the lake; of the two, the credential is what is known to be wrong.
    const credentialOk = code === "config" ? false : null;
    return { reachable: false, credentialOk, limited: false, status: null, clockSkewMs: null, latencyMs, error: text };
  } finally {
    timer.cancel();
  }
}

function ask(lake: OwnLake, container: string | undefined, signal: AbortSignal): ReturnType<OwnLake["own"]> {
  if (!lake.hasOwnCredential) {
    const path = lake.style === "path" ? `/${lake.account}/` : "/";
    return lake.forward({ method: "GET", path, query: "?comp=list&maxresults=1", headers: [], body: null, signal });
  }
  const list: LakeOwnRequest = {
    method: "GET",
    query: [
      ["comp", "list"],
      ["maxresults", "1"],
    ],
    signal,
  };
  if (container === undefined) return lake.own(list);
  return lake.own({ ...list, container, query: [["restype", "container"], ...(list.query ?? [])] });
}

type Judged = Pick<LakeProbe, "credentialOk" | "limited" | "error">;

function judge(lake: OwnLake, status: number, code: string | undefined, skewMs: number | null): Judged {
  if (!lake.hasOwnCredential) return { credentialOk: null, limited: false };
  if (status >= 200 && status < 300) return { credentialOk: true, limited: false };
  const what = `the lake answered ${status}${code === undefined ? "" : ` ${code}`}`;
  if (lacksRight(code)) return { credentialOk: true, limited: true };
  if (status === 401 || status === 403) {
    const apart = skewMs !== null && Math.abs(skewMs) > limits.clockSkewMs;
    const hint = apart ? `: this machine's clock is ${Math.round(Math.abs(skewMs) / 60_000)} minutes off` : "";
    return { credentialOk: false, limited: false, error: what + hint };
  }
  return { credentialOk: null, limited: false, error: what };
}
