/**
 * What Forebay says about itself: health, metrics (Prometheus) and a JSON API, served by the keeper's process. The
 * numbers come from where things are counted; here they are only put together and named.
 */
import type { Stats } from "../engine/stats.ts";
import type { WriteActions, WritesView } from "./writes-types.ts";

export type * from "./writes-types.ts";

/** What a probe of one account of the lake last found. */
export interface LakeView {
  readonly account: string;
  readonly url: string;
  /** Null before the first probe has answered. */
  readonly reachable: boolean | null;
  /** `key`, `sas`, `entra` or `none`, and `(refused)` behind it when the lake did not take it. */
  readonly credential: string;
  readonly latencyMs: number | null;
  readonly clockSkewMs: number | null;
  readonly problem: string | null;
}

/** The cache on flash as its keeper counts it. */
export interface FlashView {
  readonly path: string;
  readonly usedBytes: number;
  readonly boundBytes: number;
  readonly versions: number;
  /** `ok`, or why it cannot be used. */
  readonly state: string;
  readonly ok: boolean;
  readonly evictedVersions: number;
  readonly evictedBytes: number;
  /** Further counters and gauges by metric name (without the `forebay_flash_` in front). */
  readonly counters: Readonly<Record<string, number>>;
  readonly gauges: Readonly<Record<string, number>>;
}

/** A policy as shown. */
export interface PolicyView {
  readonly path: string;
  readonly maxStaleMs: number | "immutable";
  readonly onLakeOutage: string;
  readonly verdict: string;
  readonly write?: string;
  readonly exclusive?: boolean;
  readonly whenParked?: string;
  readonly tier?: string | null;
  readonly maxUnflushedMs?: number | null;
}

/** Everything the admin API draws on. */
export interface AdminSources {
  readonly version: string;
  readonly startedAtMs: number;
  readonly nowMs: () => number;
  lakes(): readonly LakeView[];
  policies(): readonly PolicyView[];
  flash(): FlashView;
  /** All that servers counted, those that are gone included; how many answer, and how many there should be. */
  servers(): Promise<{ readonly stats: readonly Stats[]; readonly answering: number; readonly expected: number }>;
  /** What the lake does not have yet; null (or left out) while there is no journal. */
  writes?(): WritesView | null;
  /** What an operator may do about it; null (or left out) while there is no journal. */
  writeActions?(): WriteActions | null;
}
