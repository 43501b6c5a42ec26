/**
 * The desk's interface across processes: servers call it through {@link remoteDesk}, the keeper's process answers
 * through {@link answerDeskCall}. What was granted to a server that had given up waiting is given back.
 */
import { limits } from "../base/limits.ts";
import type { WriteDesk } from "../writeback/types.ts";
import { type KeeperCaller, post } from "./keeper-calls.ts";

/** In front of the desk's methods, so that they are not taken for the keeper's. */
const PREFIX = "desk.";

const METHODS = [
  "reserve",
  "giveBack",
  "stage",
  "write",
  "latest",
  "inline",
  "names",
  "alias",
  "blocks",
  "fence",
  "unfence",
  "flush",
  "adopt",
  "warmBegin",
  "warmEnd",
] as const satisfies readonly (keyof WriteDesk)[];

type Method = (typeof METHODS)[number];

/** A desk in the keeper's process. */
export function remoteDesk(caller: KeeperCaller): WriteDesk {
  const call = <T>(method: Method, args: readonly unknown[]): Promise<T> => caller<T>(PREFIX + method, args);
  const giveBack = <T>(method: Method, args: readonly unknown[]): Promise<T> =>
    caller<T>(PREFIX + method, args, { givesBack: true });
  return {
    reserve: (holder, bytes) =>
      caller(`${PREFIX}reserve`, [holder, bytes], {
        late: {
          heldMs: limits.fenceTtlMs,
          undo: (peer, reserved) => {
            if (reserved.kind === "file") post(peer, `${PREFIX}giveBack`, [holder, [reserved.fileId]]);
          },
        },
      }),
    giveBack: (...args) => giveBack("giveBack", args),
    stage: (...args) => call("stage", args),
    write: (...args) => call("write", args),
    latest: (...args) => call("latest", args),
    inline: (...args) => call("inline", args),
    names: (...args) => call("names", args),
    alias: (...args) => call("alias", args),
    blocks: (...args) => call("blocks", args),
    fence: (...args) =>
      caller(`${PREFIX}fence`, args, {
        late: { heldMs: limits.fenceTtlMs, undo: (peer, fence) => post(peer, `${PREFIX}unfence`, [fence]) },
      }),
    unfence: (...args) => giveBack("unfence", args),
    flush: (...args) => call("flush", args),
    adopt: (...args) => call("adopt", args),
    warmBegin: (...args) =>
      caller(`${PREFIX}warmBegin`, args, {
        late: {
          heldMs: limits.fenceTtlMs,
          undo: (peer, ticket) => {
            if (ticket !== null) post(peer, `${PREFIX}warmEnd`, [args[0], ticket, { kind: "unknown" }]);
          },
        },
      }),
    warmEnd: (...args) => call("warmEnd", args),
  };
}

/** Whether `method` is one of the desk's. */
export function isDeskCall(method: string): boolean {
  return method.startsWith(PREFIX) && (METHODS as readonly string[]).includes(method.slice(PREFIX.length));
}

/** Answers a call of a server. */
export function answerDeskCall(desk: WriteDesk, method: string, args: readonly unknown[]): Promise<unknown> {
  const run = desk[method.slice(PREFIX.length) as Method] as (...args: readonly unknown[]) => Promise<unknown>;
  return run.apply(desk, [...args]);
}
