/**
 * The keeper's interface across processes: servers call it through {@link remoteKeeper}, the keeper's process answers
 * through {@link answerKeeperCall}. Arguments and results are plain data.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { FlashKeeper } from "../flash/types.ts";
import type { Peer } from "../io/channel.ts";
import type { Clock } from "../io/clock.ts";

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

/** Answered at once by every keeper that is not stuck. */
const PING = "ping";

/**
 * A keeper in another process. `peer` gives the channel to it, or null while there is none. Some calls have reason to
 * wait long; a keeper that hangs is told from one that waits by asking it whether it lives. While it hangs, calls
 * reject with `timeout`, those that come then at once.
 */
export function remoteKeeper(peer: () => Peer | null, clock: Clock): FlashKeeper {
  const pulse = createPulse(clock);
  const call = <T>(method: Method, args: readonly unknown[]): Promise<T> => {
    const held = peer();
    if (held === null) return Promise.reject(new ForebayError("closed", "the keeper is not there"));
    if (pulse.hangs(held)) return Promise.reject(hanging());
    return pulse.whileAlive(held, held.call(method, args) as Promise<T>);
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

const hanging = (): ForebayError => new ForebayError("timeout", "the keeper does not answer");

interface Pulse {
  /** Whether the keeper did not answer when it was last asked. Asks again. */
  hangs(peer: Peer): boolean;
  /** The answer, or a rejection when the keeper is found to hang before it comes. */
  whileAlive<T>(peer: Peer, answer: Promise<T>): Promise<T>;
}

function createPulse(clock: Clock): Pulse {
  const asked = new WeakMap<Peer, Promise<boolean>>();
  const hung = new WeakSet<Peer>();
  /** Whether it lives. However many want to know, it is asked once at a time. */
  const ask = (peer: Peer): Promise<boolean> => {
    const known = asked.get(peer);
    if (known !== undefined) return known;
    const answer = peer.call(PING, [], limits.keeperPulseTimeoutMs).then(
      () => true,
      () => false,
    );
    const lives = answer.then((alive) => {
      asked.delete(peer);
      if (alive) hung.delete(peer);
      else hung.add(peer);
      return alive;
    });
    asked.set(peer, lives);
    return lives;
  };
  return {
    hangs: (peer) => {
      if (!hung.has(peer)) return false;
      void ask(peer);
      return true;
    },
    whileAlive: (peer, answer) =>
      new Promise((resolve, reject) => {
        const look = async (): Promise<void> => {
          if (!(await ask(peer))) reject(hanging());
          else if (!over) timer = clock.after(limits.keeperPulseMs, () => void look());
        };
        let timer = clock.after(limits.keeperPulseMs, () => void look());
        let over = false;
        const end = (): void => {
          over = true;
          timer.cancel();
        };
        answer.then(resolve, reject).finally(end);
      }),
  };
}

/** Answers a call of a server; null when `method` is none of the keeper's. */
export function answerKeeperCall(
  keeper: FlashKeeper,
  method: string,
  args: readonly unknown[],
): Promise<unknown> | null {
  if (method === PING) return Promise.resolve(null);
  if (!(METHODS as readonly string[]).includes(method)) return null;
  const run = keeper[method as Method] as (...args: readonly unknown[]) => Promise<unknown>;
  return run.apply(keeper, [...args]);
}
