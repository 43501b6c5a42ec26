/** Asking the lake whether a caller may read, with the caller's own credential: once for all who ask the same. */
import { askInTime } from "./asking.ts";
import type { EngineContext } from "./context.ts";
import { letGo } from "./let-go.ts";
import { bump } from "./stats.ts";
import type { ReadOutcome, ReadRequest } from "./types.ts";
import type { Verdicts } from "./verdicts.ts";

/** What was said: yes (and remembered), or what the caller gets instead of a read. */
type Said = "yes" | ReadOutcome;

/** Asks for one server's requests. */
export interface VerdictAsker {
  /** Never rejects. */
  ask(request: ReadRequest): Promise<Said>;
}

export function createVerdictAsker(context: EngineContext, verdicts: Verdicts): VerdictAsker {
  const underWay = new Map<string, Promise<Said>>();
  const ask = async (name: string, request: ReadRequest): Promise<Said> => {
    const asked = askOnce(context, verdicts, request);
    underWay.set(name, asked);
    try {
      return await asked;
    } finally {
      if (underWay.get(name) === asked) underWay.delete(name);
    }
  };
  return {
    ask: async (request) => {
      const name = verdicts.nameOf(request);
      const asked = underWay.get(name);
      // Only a yes serves others: a no is asked again every time, and somebody else's client may just have left.
      if (asked !== undefined && (await asked) === "yes" && verdicts.holds(request)) return "yes";
      return ask(name, request);
    },
  };
}

async function askOnce(context: EngineContext, verdicts: Verdicts, request: ReadRequest): Promise<Said> {
  const askedAtMs = context.clock.monotonicMs();
  context.stats.verdictsAsked++;
  try {
    const response = await askInTime(context.clock, request.lake, {
      key: request.key,
      method: request.form === "head" ? "HEAD" : "GET",
      range: request.form === "head" ? undefined : { first: 0, last: 0 },
      apiVersion: request.apiVersion,
      credential: request.caller,
      clientRequestId: request.clientRequestId,
      signal: request.signal(),
    });
    letGo(response.body);
    const { status } = response.head;
    bump(context.stats.lakeRequests, `verdict.${status}`);
    // 416: an empty blob has no first byte, which only somebody who may read it is told.
    if (status !== 200 && status !== 206 && status !== 416) return { kind: "forward", why: `verdict-${status}` };
  } catch {
    return { kind: "unavailable", why: "the lake could not be asked whether this caller may read" };
  }
  verdicts.remember(request, askedAtMs);
  return "yes";
}
