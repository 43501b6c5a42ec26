/** Calls of the desk that outlast the moment in which the process behind it is being started again. */
import { asForebayError, ForebayError, hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { Clock } from "../io/clock.ts";
import type { EngineContext } from "./context.ts";

/**
 * What `act` gives; called again while nobody is there to answer. Rejects with `overloaded` when that takes longer than
 * `waitMs`, and with what else `act` rejects with.
 *
 * @param act Told how many milliseconds are left.
 */
export async function reachDesk<T>(clock: Clock, waitMs: number, act: (leftMs: number) => Promise<T>): Promise<T> {
  const endMs = clock.monotonicMs() + waitMs;
  for (;;) {
    try {
      return await act(Math.max(0, endMs - clock.monotonicMs()));
    } catch (error) {
      if (hasCode(error, "timeout")) throw unreached(error);
      if (!hasCode(error, "closed")) throw error;
      if (clock.monotonicMs() + limits.deskRetryMs >= endMs) throw unreached(error);
    }
    await clock.sleep(limits.deskRetryMs);
  }
}

/** As {@link reachDesk}, for questions whose answer nobody has to take back: an answer that is late is not waited for. */
export function askDesk<T>(clock: Clock, waitMs: number, ask: () => Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const timer = clock.after(waitMs, () => reject(unreached(new ForebayError("timeout", "no answer came in time"))));
    reachDesk(clock, waitMs, ask)
      .then(resolve, reject)
      .finally(() => timer.cancel());
  });
}

function unreached(cause: unknown): ForebayError {
  const reason = asForebayError(cause).message;
  return new ForebayError("overloaded", `what is pending cannot be told, or carried, now: ${reason}`, { cause });
}

/** Whether it is known what is owed: waits a little for the journal to be read after a start. */
export async function owedIsKnown({
  clock,
  generations,
}: Pick<EngineContext, "clock" | "generations">): Promise<boolean> {
  const endMs = clock.monotonicMs() + limits.owedKnownWaitMs;
  while (!generations.owed.known()) {
    if (clock.monotonicMs() >= endMs) return false;
    await clock.sleep(limits.deskRetryMs);
  }
  return true;
}
