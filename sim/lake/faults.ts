/**
 * What goes wrong between Forebay and the lake, by seed: slowness, throttling, silence, cut and false bodies, lost
 * and doubled acknowledgements. Every fault can be switched on alone, asked for once, and is counted.
 */
import type { Random } from "../../src/base/random.ts";
import { headerOf, type RawHeaders } from "../../src/http/types.ts";
import { type Content, joinedContent, slicedContent, storedContent } from "./content.ts";
import { type SimErrorCode, simError } from "./errors.ts";
import type { SimContext, SimRequest, SimResponse } from "./model.ts";
import { errorAnswer } from "./service.ts";

/** Each thing that may go wrong. */
export const FAULTS = [
  "serverError", // 500, nothing done
  "serverBusy", // 503, nothing done
  "serverBusyRetryAfter", // 503 with Retry-After in seconds
  "tooManyRequests", // 429
  "tooManyRequestsRetryAfterMs", // 429 with x-ms-retry-after-ms
  "neverAnswers", // the request is read, nothing done, and nothing ever sent
  "resetBefore", // the connection breaks before the answer, nothing done
  "lostAck", // a change is made, and the connection breaks before the answer
  "duplicate", // a change is made twice; the first answer is sent
  "resetInBody", // the connection breaks in the middle of a body
  "shortBody", // the body ends early, and so does the connection
  "longBody", // the body is longer than the range, and announced so
  "wrongContentRange", // another range is announced than was asked
  "otherEtag", // another version answers, whatever If-Match said
  "wrongMd5", // Content-MD5 is not that of the body
] as const;
export type Fault = (typeof FAULTS)[number];

/** How an answer leaves. */
export interface Delivery {
  readonly firstByteMs: number;
  /** Null: as fast as it goes. */
  readonly bytesPerSecond: number | null;
  /** `silence`: nothing ever comes. `reset`: the connection breaks instead of an answer. */
  readonly answer: SimResponse | "silence" | "reset";
  /** What Content-Length says; the connection breaks where the body is shorter. */
  readonly announcedBytes: number | null;
  /** The fault at work, if any. */
  readonly fault: Fault | null;
}

/** A seeded plan of faults around a service. */
export interface FaultPlan {
  /** The probability of a fault per request to which it can happen; 0 switches it off. */
  set(fault: Fault, probability: number): void;
  /** Makes the next `times` fitting requests suffer `fault`, before any chance is asked. */
  force(fault: Fault, times?: number, fits?: (request: SimRequest) => boolean): void;
  /** Time to the first byte, drawn evenly; and the rate of each connection. */
  shape(options: { firstByteMs?: readonly [min: number, max: number]; bytesPerSecond?: number | null }): void;
  /** Switches everything off. Counts stay. */
  calm(): void;
  count(fault: Fault): number;
  /** Handles a request under the plan. */
  deliver(request: SimRequest, context: SimContext, handle: Handle): Delivery;
}

type Handle = (request: SimRequest, context: SimContext) => SimResponse;

interface Forced {
  readonly fault: Fault;
  readonly fits: (request: SimRequest) => boolean;
  left: number;
}

/** A plan in which nothing goes wrong until it is told to. */
export function createFaultPlan(random: Random): FaultPlan {
  const chances = new Map<Fault, number>();
  const counts = new Map<Fault, number>();
  const forced: Forced[] = [];
  let firstByteMs: readonly [number, number] = [0, 0];
  let bytesPerSecond: number | null = null;

  const pick = (request: SimRequest): Fault | null => {
    const wish = forced.find((entry) => entry.left > 0 && couldHappen(entry.fault, request) && entry.fits(request));
    if (wish !== undefined) return wish.fault;
    // One number per fault and request, whether it can happen or not: switching one off does not shift the others.
    const hits = FAULTS.filter((fault) => random.chance(chances.get(fault) ?? 0));
    return hits.find((fault) => couldHappen(fault, request)) ?? null;
  };
  const count = (fault: Fault, request: SimRequest): void => {
    counts.set(fault, (counts.get(fault) ?? 0) + 1);
    const wish = forced.find((entry) => entry.left > 0 && entry.fault === fault && entry.fits(request));
    if (wish !== undefined) wish.left--;
  };

  return {
    set: (fault, probability) => void chances.set(fault, probability),
    force: (fault, times = 1, fits = () => true) => void forced.push({ fault, fits, left: times }),
    shape: (options) => {
      firstByteMs = options.firstByteMs ?? firstByteMs;
      bytesPerSecond = options.bytesPerSecond === undefined ? bytesPerSecond : options.bytesPerSecond;
    },
    calm: () => {
      chances.clear();
      forced.length = 0;
      firstByteMs = [0, 0];
      bytesPerSecond = null;
    },
    count: (fault) => counts.get(fault) ?? 0,
    deliver: (request, context, handle) => {
      const [min, max] = firstByteMs;
      const delayMs = min + (max > min ? random.below(max - min + 1) : 0);
      const fault = pick(request);
      const outcome = happen(fault, request, context, handle, random);
      if (fault !== null && outcome.happened) count(fault, request);
      const { answer } = outcome;
      const whole = typeof answer === "string" ? null : (answer.body?.sizeBytes ?? null);
      const announcedBytes = outcome.announcedBytes ?? whole;
      return { firstByteMs: delayMs, bytesPerSecond, answer, announcedBytes, fault: outcome.happened ? fault : null };
    },
  };
}

function couldHappen(fault: Fault, request: SimRequest): boolean {
  const reads = request.method === "GET" || request.method === "HEAD";
  switch (fault) {
    case "lostAck":
    case "duplicate":
      return !reads;
    case "resetInBody":
    case "shortBody":
    case "longBody":
    case "wrongContentRange":
    case "wrongMd5":
      return request.method === "GET";
    case "otherEtag":
      return reads;
    default:
      return true;
  }
}

interface Outcome {
  readonly answer: Delivery["answer"];
  readonly announcedBytes?: number;
  readonly happened: boolean;
}

const REFUSALS: Partial<Record<Fault, { readonly code: SimErrorCode; readonly headers: RawHeaders }>> = {
  serverError: { code: "InternalError", headers: [] },
  serverBusy: { code: "ServerBusy", headers: [] },
  serverBusyRetryAfter: { code: "ServerBusy", headers: ["Retry-After", "1"] },
  tooManyRequests: { code: "TooManyRequests", headers: [] },
  tooManyRequestsRetryAfterMs: { code: "TooManyRequests", headers: ["x-ms-retry-after-ms", "250"] },
};

function happen(
  fault: Fault | null,
  request: SimRequest,
  context: SimContext,
  handle: Handle,
  random: Random,
): Outcome {
  const refusal = fault === null ? undefined : REFUSALS[fault];
  if (refusal !== undefined) {
    const error = simError(refusal.code, refusal.headers);
    return {
      answer: errorAnswer(request, error, "00000000-0000-4000-8000-000000000000", context.nowMs),
      happened: true,
    };
  }
  switch (fault) {
    case "neverAnswers":
      return { answer: "silence", happened: true };
    case "resetBefore":
      return { answer: "reset", happened: true };
    case "lostAck":
      handle(request, context);
      return { answer: "reset", happened: true };
    case "duplicate": {
      const answer = handle(request, context);
      handle(request, context);
      return { answer, happened: true };
    }
    default:
      return falsify(fault, handle(request, context), random);
  }
}

/** Spoils an answer that came; leaves it alone where the fault has nothing to work on. */
function falsify(fault: Fault | null, answer: SimResponse, random: Random): Outcome {
  const { body, headers, status } = answer;
  const intact: Outcome = { answer, happened: false };
  if (fault === null || status < 200 || status > 299) return intact;
  if (fault === "otherEtag") {
    if (headerOf(headers, "etag") === undefined) return intact;
    const etag = `"0xFFF${random.uint32().toString(16).toUpperCase().padStart(8, "0")}"`;
    return { answer: { ...answer, headers: withHeader(headers, "ETag", etag) }, happened: true };
  }
  if (body === null || body.sizeBytes === 0) return intact;
  switch (fault) {
    case "resetInBody":
    case "shortBody": {
      const keep = fault === "shortBody" ? body.sizeBytes - 1 : random.below(body.sizeBytes);
      return {
        answer: { ...answer, body: slicedContent(body, 0, keep) },
        announcedBytes: body.sizeBytes,
        happened: true,
      };
    }
    case "longBody":
      return { answer: { ...answer, body: longer(body) }, happened: true };
    case "wrongContentRange": {
      const range = headerOf(headers, "content-range");
      if (range === undefined) return intact;
      const moved = range.replace(/\d+/g, (digits) => String(Number(digits) + 1));
      return { answer: { ...answer, headers: withHeader(headers, "Content-Range", moved) }, happened: true };
    }
    case "wrongMd5": {
      const md5 = Buffer.from(random.fill(new Uint8Array(16))).toString("base64");
      return { answer: { ...answer, headers: withHeader(headers, "Content-MD5", md5) }, happened: true };
    }
    default:
      return intact;
  }
}

function longer(body: Content): Content {
  return joinedContent([body, storedContent(new Uint8Array(7).fill(0xee))]);
}

function withHeader(headers: RawHeaders, name: string, value: string): string[] {
  const kept: string[] = [];
  for (let i = 0; i < headers.length; i += 2) {
    if (headers[i]?.toLowerCase() !== name.toLowerCase()) kept.push(headers[i] ?? "", headers[i + 1] ?? "");
  }
  return [...kept, name, value];
}
