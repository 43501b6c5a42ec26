/**
 * What the lake held when: every version of every blob with the time it was there, so that each byte that was read can
 * be judged, and how old the version was that it belongs to.
 */

import type { SimService } from "../../sim/lake/service.ts";
import { headerOf } from "../../src/http/types.ts";
import { pattern } from "../system/harness.ts";

/** One version of one blob. Its bytes are those of `pattern(seed, sizeBytes)`. */
export interface Version {
  readonly etag: string;
  readonly seed: number;
  readonly sizeBytes: number;
  /** When the lake took it (performance.now). */
  readonly fromMs: number;
  /** When the lake took the next one, or when the client that brought the next one heard of it, if that was later. */
  untilMs: number;
}

export interface Truth {
  /** The service, watched. */
  readonly service: SimService;
  /** Writes a version behind Forebay's back. */
  change(name: string, seed: number, sizeBytes: number): void;
  /** The version of `name` with this ETag, or undefined. */
  version(name: string, etag: string): Version | undefined;
  latest(name: string): Version;
  /** A client that wrote `seed` through Forebay now knows the outcome, or gave up on it. */
  heard(name: string, seed: number): void;
}

/** The header by which a write through Forebay says which bytes it brings. */
export const SEED_HEADER = "x-ms-meta-seed";

/** Watches `service`; names are `CONTAINER/BLOB`. */
export function watchTruth(service: SimService): Truth {
  const blobs = new Map<string, Version[]>();
  const add = (name: string, etag: string, seed: number, sizeBytes: number): void => {
    const versions = blobs.get(name) ?? [];
    blobs.set(name, versions);
    const nowMs = performance.now();
    const last = versions.at(-1);
    if (last !== undefined) last.untilMs = nowMs;
    versions.push({ etag, seed, sizeBytes, fromMs: nowMs, untilMs: Number.POSITIVE_INFINITY });
  };
  return {
    service: {
      ...service,
      handle: (request, context) => {
        const response = service.handle(request, context);
        const seed = headerOf(request.headers, SEED_HEADER);
        if (request.method === "PUT" && seed !== undefined && response.status === 201) {
          const path = request.target.split("?")[0] ?? "";
          const name = path.split("/").slice(2).join("/");
          add(name, headerOf(response.headers, "etag") ?? "", Number(seed), request.body.length);
        }
        return response;
      },
    },
    change: (name, seed, sizeBytes) => {
      const slash = name.indexOf("/");
      const etag = service.putBlob(name.slice(0, slash), name.slice(slash + 1), pattern(seed, sizeBytes));
      add(name, etag, seed, sizeBytes);
    },
    version: (name, etag) => blobs.get(name)?.find((version) => version.etag === etag),
    latest: (name) => {
      const last = blobs.get(name)?.at(-1);
      if (last === undefined) throw new Error(`${name} was never written`);
      return last;
    },
    heard: (name, seed) => {
      const versions = blobs.get(name) ?? [];
      const before = versions[versions.findIndex((version) => version.seed === seed) - 1];
      if (before !== undefined) before.untilMs = Math.max(before.untilMs, performance.now());
    },
  };
}
