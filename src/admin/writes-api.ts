/**
 * The part of the admin API that is about writes which the lake does not have yet:
 *
 *   GET  /api/v1/journal?after=SEQ&limit=N&state=parked,aside   entries in the order acknowledged
 *   GET  /api/v1/journal/SEQ                                    one of them
 *   GET  /api/v1/journal/SEQ/content                            its bytes
 *   POST /api/v1/journal/SEQ/{retry,discard,dismiss,exported}   an operator's word on it
 *   POST /api/v1/flush {scope, timeoutMs, staged}               answers when everything before it is in the lake
 *
 * A flush that `Accept`s `application/x-ndjson` is answered line by line: what is left, now and then, and its outcome.
 */
import { limits } from "../base/limits.ts";
import { operatorProblem } from "./guard.ts";
import type {
  Decided,
  EntryContent,
  FlushOutcome,
  FlushRequest,
  Left,
  OperatorDecision,
  WriteActions,
} from "./writes-types.ts";

const DECISIONS: readonly string[] = ["retry", "discard", "dismiss", "exported"] satisfies OperatorDecision[];
const NDJSON = "application/x-ndjson";

/** Whether a path belongs here. */
export function isWritesPath(path: string): boolean {
  return path === "/api/v1/flush" || path === "/api/v1/journal" || path.startsWith("/api/v1/journal/");
}

/** Answers a request of a path that {@link isWritesPath} names. `lasting` keeps the connection while nothing is sent. */
export async function answerWrites(
  request: Request,
  actions: WriteActions | null,
  lasting: () => void,
): Promise<Response> {
  const refusal = operatorProblem(request);
  if (refusal !== null) return problem(403, refusal);
  const url = new URL(request.url);
  const [, , , what, seqText, verb] = url.pathname.split("/");
  const method = what === "flush" || (verb !== undefined && verb !== "content") ? "POST" : "GET";
  if (request.method !== method) return problem(405, `only ${method} is answered here`);
  if (actions === null) return problem(503, "there is no journal: see forebay status");
  if (what === "flush") return flush(request, actions, lasting);
  if (seqText === undefined) return entries(url, actions);
  const seq = wholeNumber(seqText);
  if (seq === null || url.pathname.split("/").length > 6) return problem(404, "there is nothing here");
  if (verb === undefined) {
    const entry = actions.entry(seq);
    return entry === null ? noEntry(seq) : Response.json(entry);
  }
  if (verb === "content") return content(seq, actions.content(seq));
  if (!isDecision(verb)) return problem(404, `"${verb}" is not known here; there are ${DECISIONS.join(", ")}`);
  return decided(seq, await actions.decide(seq, verb));
}

function isDecision(word: string): word is OperatorDecision {
  return DECISIONS.includes(word);
}

function entries(url: URL, actions: WriteActions): Response {
  const limit = wholeNumber(url.searchParams.get("limit") ?? "1000");
  const afterSeq = wholeNumber(url.searchParams.get("after") ?? "0");
  if (limit === null || limit < 1 || limit > limits.adminEntriesMax || afterSeq === null) {
    return problem(400, `limit is a whole number from 1 to ${limits.adminEntriesMax}, after is a number of an entry`);
  }
  const states = (url.searchParams.get("state") ?? "").split(",").filter((state) => state !== "");
  return Response.json(actions.entries({ afterSeq, limit, states }));
}

function decided(seq: number, outcome: Decided): Response {
  if (outcome.result === "gone") return noEntry(seq);
  return Response.json(outcome, { status: outcome.result === "done" ? 200 : 409 });
}

function content(seq: number, found: EntryContent): Response {
  if (found.result === "gone") return noEntry(seq);
  if (found.result === "none") return problem(409, found.reason);
  const { pieces } = found;
  const body = new ReadableStream<Uint8Array>({
    pull: async (controller) => {
      try {
        const { done, value } = await pieces.next();
        if (done === true) controller.close();
        else controller.enqueue(value);
      } catch {
        // Without a reason, which would be printed: the connection ends before the answer does.
        controller.error();
      }
    },
    cancel: async () => {
      await pieces.return?.();
    },
  });
  const size = { "x-forebay-size": String(found.sizeBytes), "X-Content-Type-Options": "nosniff" };
  return new Response(body, { headers: { "Content-Type": "application/octet-stream", ...size } });
}

async function flush(request: Request, actions: WriteActions, lasting: () => void): Promise<Response> {
  const wanted = flushRequest(await request.text());
  if (typeof wanted === "string") return problem(400, wanted);
  const wrong = actions.scopeProblem(wanted.scope);
  if (wrong !== null) return problem(400, wrong);
  lasting();
  if (request.headers.get("accept") !== NDJSON) return Response.json(await actions.flush(wanted, () => {}));
  return lines((tell) => actions.flush(wanted, tell));
}

/** The wish of a body, or what is wrong with it. */
function flushRequest(text: string): FlushRequest | string {
  let given: unknown;
  try {
    given = text === "" ? {} : JSON.parse(text);
  } catch {
    return "the body is no JSON";
  }
  if (typeof given !== "object" || given === null) return "the body is no map of settings";
  const { scope = "", timeoutMs = 600_000, staged = false } = given as Record<string, unknown>;
  if (typeof scope !== "string") return 'scope is text: [ACCOUNT:]CONTAINER/PREFIX, or "" for everything';
  if (typeof timeoutMs !== "number" || !(timeoutMs >= 0 && timeoutMs <= limits.adminFlushMsMax)) {
    return `timeoutMs is a number from 0 to ${limits.adminFlushMsMax}`;
  }
  if (typeof staged !== "boolean") return "staged is true or false";
  return { scope, timeoutMs, staged };
}

/** An answer that tells, line by line, how far the work is, and last what it came to. */
function lines(work: (tell: (left: Left) => void) => Promise<FlushOutcome>): Response {
  const encoder = new TextEncoder();
  let gone = false;
  const body = new ReadableStream<Uint8Array>({
    start: (controller) => {
      const line = (value: unknown): void => {
        if (!gone) controller.enqueue(encoder.encode(`${JSON.stringify(value)}\n`));
      };
      void work((left) => line({ left }))
        .then(line, () => line({ result: "failed" }))
        .finally(() => {
          if (!gone) controller.close();
        });
    },
    cancel: () => {
      gone = true;
    },
  });
  return new Response(body, { headers: { "Content-Type": NDJSON } });
}

function wholeNumber(text: string): number | null {
  return /^\d{1,15}$/.test(text) ? Number(text) : null;
}

function noEntry(seq: number): Response {
  return problem(404, `there is no entry ${seq} in the journal: it has ended, or never was`);
}

function problem(status: number, error: string): Response {
  return Response.json({ error }, { status });
}
