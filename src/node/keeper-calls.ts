/**
 * The keeper's interface across processes: servers call it through {@link remoteKeeper}, the keeper's process answers
 * through {@link answerKeeperCall}. Arguments and results are plain data.
 */
import { ForebayError, hasCode } from "../base/errors.ts";
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

/** Of what is to be said even to a keeper that hangs: it gives back, or tells what was done, and is heard when it wakes. */
const GIVES_BACK: ReadonlySet<Method> = new Set<Method>(["abandon", "filled", "unclaim", "drop", "unmarkChange"]);

/** How a call that was given up is undone when its answer comes all the same. */
export interface Undo<T> {
  /** How long the keeper holds what the answer grants. */
  readonly heldMs: number;
  undo(peer: Peer, answer: T): void;
}

/** Calls to the keeper's process that know when it hangs: see {@link remoteKeeper}. */
export type KeeperCaller = <T>(method: string, args: readonly unknown[], options?: CallOptions<T>) => Promise<T>;

interface CallOptions<T> {
  readonly late?: Undo<T>;
  /** Said even to a keeper that hangs. */
  readonly givesBack?: boolean;
}

/** `peer` gives the channel to the keeper, or null while there is none. */
export function createKeeperCaller(peer: () => Peer | null, clock: Clock): KeeperCaller {
  const pulse = createPulse(clock);
  return <T>(method: string, args: readonly unknown[], { late, givesBack }: CallOptions<T> = {}) => {
    const held = peer();
    if (held === null) return Promise.reject(new ForebayError("closed", "the keeper is not there"));
    if (pulse.hangs(held)) {
      if (givesBack === true && pulse.mayPost(held)) post(held, method, args);
      return Promise.reject(hanging());
    }
    const answer = held.call(method, args, late?.heldMs ?? limits.keeperReplyTimeoutMs) as Promise<T>;
    return pulse.whileAlive(held, answer, (value) => late?.undo(held, value));
  };
}

/**
 * A keeper in another process. Some calls have reason to
 * wait long; a keeper that hangs is told from one that waits by asking it whether it lives. While it hangs, calls
 * reject with `timeout`, those that come then at once; what gives something back is posted all the same, and what a
 * call that was given up is granted later is given back, so that a keeper that wakes holds nothing for nobody.
 */
export function remoteKeeper(caller: KeeperCaller): FlashKeeper {
  const call = <T>(method: Method, args: readonly unknown[], late?: Undo<T>): Promise<T> =>
    caller<T>(method, args, { givesBack: GIVES_BACK.has(method), ...(late && { late }) });
  return {
    acquire: (request) =>
      call("acquire", [request], {
        heldMs: limits.leaseTtlMs,
        undo: (held, acquired) => {
          if (acquired.kind === "lease") post(held, "abandon", [acquired.lease, "shared"]);
        },
      }),
    publish: (...args) => call("publish", args),
    abandon: (...args) => call("abandon", args),
    claim: (holder, versionId, first, count) =>
      call("claim", [holder, versionId, first, count], {
        heldMs: limits.claimTtlMs,
        undo: (held, claimed) => {
          if (claimed && claimed.granted.length > 0) post(held, "unclaim", [holder, versionId, claimed.granted]);
        },
      }),
    filled: (...args) => call("filled", args),
    unclaim: (...args) => call("unclaim", args),
    awaitBlock: (...args) => call("awaitBlock", args),
    drop: (...args) => call("drop", args),
    // A change is not sent while its mark is not there: given up, it did not happen.
    markChange: (scope) =>
      call("markChange", [scope], {
        heldMs: limits.changeMarkTtlMs,
        undo: (held, mark) => post(held, "unmarkChange", [mark, false]),
      }),
    unmarkChange: (...args) => call("unmarkChange", args),
    peek: (...args) => call("peek", args),
    reportFailure: (...args) => call("reportFailure", args),
  };
}

/** Says something whose answer nobody waits for. */
export function post(peer: Peer, method: string, args: readonly unknown[]): void {
  void peer.call(method, args).catch(() => {});
}

const hanging = (): ForebayError => new ForebayError("timeout", "the keeper does not answer");

interface Pulse {
  /** Whether the keeper did not answer when it was last asked. Asks again. */
  hangs(peer: Peer): boolean;
  /** Whether one more thing may be said to a peer that hangs: what it does not read stays in memory. */
  mayPost(peer: Peer): boolean;
  /**
   * The answer; or a rejection when the keeper is found to hang before it comes, or it takes too long. Then `late`
   * hears of the answer if it comes all the same.
   */
  whileAlive<T>(peer: Peer, answer: Promise<T>, late: (value: T) => void): Promise<T>;
}

function createPulse(clock: Clock): Pulse {
  const asked = new WeakMap<Peer, Promise<boolean>>();
  /** Those that hang, and how much they were told since. */
  const hung = new WeakMap<Peer, number>();
  /** Whether it is taken to live. However many want to know, it is asked once at a time. */
  const ask = (peer: Peer): Promise<boolean> => {
    const known = asked.get(peer);
    if (known !== undefined) return known;
    const lives = questions(peer).then((silent) => {
      asked.delete(peer);
      // Without an outcome what was known of it stands.
      if (silent === false) hung.delete(peer);
      else if (silent === true && !hung.has(peer)) hung.set(peer, 0);
      return !hung.has(peer);
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
    mayPost: (peer) => {
      const posted = hung.get(peer) ?? 0;
      hung.set(peer, posted + 1);
      return posted < limits.keeperPostsMax;
    },
    whileAlive: (peer, answer, late) =>
      new Promise((resolve, reject) => {
        const fromMs = clock.monotonicMs();
        let isOver = false;
        const giveUp = (): void => {
          if (isOver) return;
          isOver = true;
          reject(hanging());
          answer.then(late, () => {});
        };
        const look = async (): Promise<void> => {
          const lives = await ask(peer);
          if (!lives || clock.monotonicMs() - fromMs >= limits.keeperReplyTimeoutMs) giveUp();
          else if (!isOver) timer = clock.after(limits.keeperPulseMs, () => void look());
        };
        let timer = clock.after(limits.keeperPulseMs, () => void look());
        const end = (): void => {
          if (isOver) return;
          isOver = true;
          timer.cancel();
        };
        answer.finally(end).then(resolve, reject);
      }),
  };
}

/**
 * Whether the keeper leaves the question unanswered whether it lives; null when it could not be asked. It is asked
 * twice: the first time-out may be due because this process itself was held up, with the answer waiting to be read.
 */
async function questions(peer: Peer): Promise<boolean | null> {
  const first = await isSilent(peer, limits.keeperPulseTimeoutMs - limits.keeperPulseAgainMs);
  return first === true ? isSilent(peer, limits.keeperPulseAgainMs) : first;
}

function isSilent(peer: Peer, timeoutMs: number): Promise<boolean | null> {
  return peer.call(PING, [], timeoutMs).then(
    () => false,
    (error: unknown) => (hasCode(error, "timeout") ? true : null),
  );
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
