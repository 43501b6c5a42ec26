/** What a server counts. Plain numbers, summed over servers by the keeper and rendered by `admin/`. */

/** Upper bounds of the latency buckets, in milliseconds; the last bucket is open. */
export const LATENCY_BUCKETS_MS = [0.25, 0.5, 1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000] as const;

/** Counters of one server since it started. Every field is a total, but for the ones that say `Now`. */
export interface Stats {
  hits: number;
  misses: number;
  partials: number;
  /** Reads of what the lake does not have yet. */
  dirty: number;
  forwards: number;
  answers: number;
  unavailable: number;
  /** Payload bytes handed to clients from flash, from the lake while filling, and passed through. */
  bytesFromFlash: number;
  bytesWhileFilling: number;
  bytesForwarded: number;
  /** Writes taken in here by operation, and the bytes of their bodies. */
  writesTaken: Record<string, number>;
  bytesTaken: number;
  /** Bytes that fills brought from the lake, and requests sent to it by kind and outcome (`fill.206`). */
  bytesFilled: number;
  lakeRequests: Record<string, number>;
  checks: number;
  fills: number;
  fillErrors: number;
  fillsNow: number;
  md5Mismatches: number;
  staleServed: number;
  verdictsAsked: number;
  errors: Record<string, number>;
  requestsNow: number;
  connectionsNow: number;
  /** Seconds and counts to the first byte of the response, by temperature, per bucket of {@link LATENCY_BUCKETS_MS}. */
  latency: Record<string, number[]>;
  latencySumMs: Record<string, number>;
  forwardReasons: Record<string, number>;
}

export function createStats(): Stats {
  return {
    hits: 0,
    misses: 0,
    partials: 0,
    dirty: 0,
    forwards: 0,
    answers: 0,
    unavailable: 0,
    bytesFromFlash: 0,
    bytesWhileFilling: 0,
    bytesForwarded: 0,
    writesTaken: {},
    bytesTaken: 0,
    bytesFilled: 0,
    lakeRequests: {},
    checks: 0,
    fills: 0,
    fillErrors: 0,
    fillsNow: 0,
    md5Mismatches: 0,
    staleServed: 0,
    verdictsAsked: 0,
    errors: {},
    requestsNow: 0,
    connectionsNow: 0,
    latency: {},
    latencySumMs: {},
    forwardReasons: {},
  };
}

/** Adds one to `record[name]`. Names come from closed sets, so records stay small. */
export function bump(record: Record<string, number>, name: string, by = 1): void {
  record[name] = (record[name] ?? 0) + by;
}

/** Notes one latency under `name`. */
export function observeLatency(stats: Stats, name: string, elapsedMs: number): void {
  let buckets = stats.latency[name];
  if (buckets === undefined) {
    buckets = new Array<number>(LATENCY_BUCKETS_MS.length + 1).fill(0);
    stats.latency[name] = buckets;
  }
  let i = 0;
  while (i < LATENCY_BUCKETS_MS.length && elapsedMs > (LATENCY_BUCKETS_MS[i] as number)) i++;
  buckets[i] = (buckets[i] ?? 0) + 1;
  stats.latencySumMs[name] = (stats.latencySumMs[name] ?? 0) + elapsedMs;
}

/** The sum of several servers' counters. */
export function sumStats(all: readonly Stats[]): Stats {
  const total: Record<string, unknown> = { ...createStats() };
  for (const stats of all) addInto(total, stats);
  return Object.assign(createStats(), total);
}

function addInto(total: Record<string, unknown>, part: object): void {
  for (const [name, value] of Object.entries(part)) {
    const held = total[name];
    if (typeof value === "number") total[name] = (typeof held === "number" ? held : 0) + value;
    else if (Array.isArray(value)) {
      const sums = Array.isArray(held) ? held : new Array<number>(value.length).fill(0);
      total[name] = value.map((n: number, i) => n + ((sums[i] as number | undefined) ?? 0));
    } else if (value !== null && typeof value === "object") {
      const inner: Record<string, unknown> = { ...(held as Record<string, unknown> | undefined) };
      addInto(inner, value);
      total[name] = inner;
    }
  }
}
