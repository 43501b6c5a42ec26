/**
 * The keeper's interface across processes: servers call it through {@link remoteKeeper}, the keeper's process answers
 * through {@link answerKeeperCall}. Arguments and results are plain data.
 */
import { ForebayError } from "../base/errors.ts";
import type { FlashKeeper } from "../flash/types.ts";
import type { Peer } from "../io/channel.ts";

/** The methods of {@link FlashKeeper} that cross between processes: all of them. */
const METHODS = [
  "acquire",
  "publish",
  "abandon",
  "claim",
  "filled",
  "unclaim",
  "awaitBlock",
  "drop",
  "markChange",
  "unmarkChange",
  "peek",
  "reportFailure",
] as const satisfies readonly (keyof FlashKeeper)[];

type Method = (typeof METHODS)[number];

/** A keeper in another process. `peer` gives the channel to it, or null while there is none. */
export function remoteKeeper(peer: () => Peer | null): FlashKeeper {
  const call = <T>(method: Method, args: readonly unknown[]): Promise<T> => {
    const held = peer();
    if (held === null) return Promise.reject(new ForebayError("closed", "the keeper is not there"));
    return held.call(method, args) as Promise<T>;
  };
  return {
    acquire: (...args) => call("acquire", args),
    publish: (...args) => call("publish", args),
    abandon: (...args) => call("abandon", args),
    claim: (...args) => call("claim", args),
    filled: (...args) => call("filled", args),
    unclaim: (...args) => call("unclaim", args),
    awaitBlock: (...args) => call("awaitBlock", args),
    drop: (...args) => call("drop", args),
    markChange: (...args) => call("markChange", args),
    unmarkChange: (...args) => call("unmarkChange", args),
    peek: (...args) => call("peek", args),
    reportFailure: (...args) => call("reportFailure", args),
  };
}

/** Answers a call of a server; null when `method` is none of the keeper's. */
export function answerKeeperCall(
  keeper: FlashKeeper,
  method: string,
  args: readonly unknown[],
): Promise<unknown> | null {
  if (!(METHODS as readonly string[]).includes(method)) return null;
  const run = keeper[method as Method] as (...args: readonly unknown[]) => Promise<unknown>;
  return run.apply(keeper, [...args]);
}
