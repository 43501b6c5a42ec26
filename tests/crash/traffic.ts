/** Readers and writers that go on whatever happens, and judge every byte that they are given. */
import type { Random } from "../../src/base/random.ts";
import { ALL_SAS, firstDifference, pattern } from "../system/harness.ts";
import { SEED_HEADER, type Truth, type Version } from "./truth.ts";

/** A set of blobs that share a rule. */
export interface BlobSet {
  readonly container: string;
  readonly names: readonly string[];
  /** How old a version may be when it is given, beyond the time of the request itself. */
  readonly staleMsMax: number;
  /** Who changes these blobs: nobody, other writers of the lake, or only writers through Forebay. */
  readonly changedBy: "nobody" | "others" | "forebay";
}

/** What the traffic of a round saw. */
export interface Seen {
  reads: number;
  bytes: number;
  hits: number;
  writes: number;
  /** Broken or refused requests, by what happened. */
  readonly broken: Map<string, number>;
  /** What must never be. */
  readonly wrong: string[];
}

export function nothingSeen(): Seen {
  return { reads: 0, bytes: 0, hits: 0, writes: 0, broken: new Map(), wrong: [] };
}

const READ_TIMEOUT_MS = 15_000;
const CLOCK_SLACK_MS = 20;
const API_VERSION = "2022-11-02";

export interface ReadPlan {
  readonly name: string;
  readonly staleMsMax: number;
  readonly method: "GET" | "HEAD";
  /** Null: the whole blob. */
  readonly range: { readonly first: number; readonly last: number | null } | null;
}

/** A read at random. */
export function planRead(random: Random, truth: Truth, sets: readonly BlobSet[]): ReadPlan {
  const set = random.pick(sets);
  // Half of the reads want the few first blobs, so that there are hits beside the evictions.
  const names = random.chance(0.5) ? set.names.slice(0, 3) : set.names;
  const name = `${set.container}/${random.pick(names)}`;
  const { sizeBytes } = truth.latest(name);
  const method = random.chance(0.1) ? "HEAD" : "GET";
  const first = random.below(Math.max(1, sizeBytes));
  const last = random.chance(0.3) ? null : first + random.below(2 << 20);
  const range = method === "HEAD" || random.chance(0.4) ? null : { first, last };
  return { name, staleMsMax: set.staleMsMax, method, range };
}

/** Reads once. Returns how it was answered; a broken answer counts, a wrong one is written down. */
export async function readOnce(blobUrl: string, truth: Truth, seen: Seen, plan: ReadPlan): Promise<string> {
  const startedMs = performance.now();
  let version: Version | undefined;
  const broken = (what: string): string => {
    seen.broken.set(what, (seen.broken.get(what) ?? 0) + 1);
    return what;
  };
  const { name, range } = plan;
  try {
    const response = await fetch(`${blobUrl}/${name}?${ALL_SAS}`, {
      method: plan.method,
      headers: {
        "x-ms-version": API_VERSION,
        ...(range === null ? {} : { "x-ms-range": `bytes=${range.first}-${range.last ?? ""}` }),
      },
      keepalive: false,
      signal: AbortSignal.timeout(READ_TIMEOUT_MS),
    });
    const headMs = performance.now();
    // A range of a blob that became shorter meanwhile, and a broken start, bring no bytes of the blob.
    if (response.status !== 200 && response.status !== 206) {
      await response.body?.cancel();
      const shorter = response.status === 416 && truth.latest(name).sizeBytes <= (range?.first ?? 0);
      return shorter ? "shorter" : broken(`status ${response.status}`);
    }
    version = truth.version(name, response.headers.get("etag") ?? "");
    const temperature = response.headers.get("x-forebay") ?? "";
    const place = `${name} (${temperature}, ${response.status}, ${JSON.stringify(range)})`;
    if (version === undefined) {
      seen.wrong.push(`${place}: ETag ${response.headers.get("etag")} was never that of this blob`);
      return "wrong";
    }
    const oldestMs = startedMs - plan.staleMsMax - CLOCK_SLACK_MS;
    if (version.untilMs < oldestMs) {
      const tooOldMs = (oldestMs - version.untilMs).toFixed(0);
      seen.wrong.push(`${place}: the version was replaced ${tooOldMs} ms before it might last be given`);
    }
    if (version.fromMs > headMs + CLOCK_SLACK_MS) seen.wrong.push(`${place}: the version did not exist yet`);
    const first = range?.first ?? 0;
    const end = Math.min(version.sizeBytes, range?.last == null ? version.sizeBytes : range.last + 1);
    const announced = Number(response.headers.get("content-length"));
    if (plan.method === "GET" && announced !== end - first) {
      seen.wrong.push(`${place}: ${announced} bytes announced, ${end - first} wanted`);
    }
    let at = first;
    for await (const chunk of response.body ?? []) {
      const difference = firstDifference(version.seed, at, chunk);
      if (difference >= 0) seen.wrong.push(`${place}: byte ${at + difference} is wrong`);
      at += chunk.length;
      seen.bytes += chunk.length;
    }
    if (plan.method === "GET" && at !== end) return broken("short body");
    seen.reads++;
    if (temperature === "hit") seen.hits++;
    return temperature;
  } catch (error) {
    const kind = error instanceof Error ? error.name : "error";
    if (kind === "TimeoutError") seen.wrong.push(`${name}: stuck for ${READ_TIMEOUT_MS} ms`);
    // A version that was replaced, at any time in which it may still be given, may end in the middle or before it began.
    const youngMs = startedMs - plan.staleMsMax;
    const replaced = version === undefined ? truth.latest(name).fromMs >= youngMs : version.untilMs < Infinity;
    return replaced ? "cut, replaced" : broken(version === undefined ? "no answer" : "cut");
  }
}

/** Writes a new version through Forebay. Whatever comes of it, the truth hears of it. */
export async function writeOnce(blobUrl: string, truth: Truth, seen: Seen, name: string, seed: number): Promise<void> {
  const sizeBytes = 1 + ((seed * 7919) % (1 << 20));
  try {
    const response = await fetch(`${blobUrl}/${name}?${ALL_SAS}`, {
      method: "PUT",
      headers: { "x-ms-version": API_VERSION, "x-ms-blob-type": "BlockBlob", [SEED_HEADER]: String(seed) },
      body: pattern(seed, sizeBytes).read(0, sizeBytes).slice(),
      keepalive: false,
      signal: AbortSignal.timeout(READ_TIMEOUT_MS),
    });
    await response.arrayBuffer();
    const what = `write status ${response.status}`;
    if (response.status === 201) seen.writes++;
    else seen.broken.set(what, (seen.broken.get(what) ?? 0) + 1);
  } catch (error) {
    if (error instanceof Error && error.name === "TimeoutError") seen.wrong.push(`${name}: a write was stuck`);
    seen.broken.set("write lost", (seen.broken.get("write lost") ?? 0) + 1);
  }
  truth.heard(name, seed);
}
