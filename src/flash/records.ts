/** Pure rules about the lake's answers kept with a version: when one is fresh, how a new one joins, how they are stored. */
import { limits } from "../base/limits.ts";
import { headersOf, type OwnValue, shapeOf, type TextRef, type Texts } from "./texts.ts";
import type { AcquireRequest, Generation, Variant } from "./types.ts";

/** Whether nothing changed between two generations (of one epoch). */
export function sameGeneration(a: Generation, b: Generation): boolean {
  return a[0] === b[0] && a[1] === b[1] && a[2] === b[2];
}

/** Whether one of `variants` answers `request` without asking the lake. */
export function isFresh(variants: readonly Variant[], request: AcquireRequest): boolean {
  return variants.some(
    (variant) =>
      variant.id === request.variantId &&
      variant.epoch === request.epoch &&
      variant.sentAtMs >= request.sentAtMsMin &&
      sameGeneration(variant.generation, request.generation),
  );
}

/**
 * `variants` with `added` in the place of the one of its id, oldest check first, at most `variantsMax`. An answer whose
 * check was sent before that of the one it would replace (of the same epoch) changes nothing.
 */
export function mergeVariant(variants: readonly Variant[], added: Variant): Variant[] {
  const known = variants.find((variant) => variant.id === added.id);
  if (known !== undefined && known.epoch === added.epoch && known.sentAtMs > added.sentAtMs) return [...variants];
  const others = variants.filter((variant) => variant.id !== added.id);
  return [...others, added].slice(-limits.variantsMax);
}

type StoredVariant = readonly [
  id: TextRef,
  shape: TextRef,
  values: readonly OwnValue[],
  sentAtMs: number,
  generation: Generation,
  epoch: TextRef,
  era: TextRef | null,
];

/** Variants of a version with `etag` as the index stores them: compact JSON that names shared texts by `ref`. */
export function encodeVariants(variants: readonly Variant[], etag: string, ref: (text: string) => TextRef): string {
  const stored = variants.map((v): StoredVariant => {
    const { shape, values } = shapeOf(v.headers, etag);
    const era = v.era === undefined ? null : ref(v.era);
    return [ref(v.id), ref(shape), values, v.sentAtMs, v.generation, ref(v.epoch), era];
  });
  return JSON.stringify(stored);
}

/** The reverse of {@link encodeVariants}. */
export function decodeVariants(text: string, etag: string, texts: Texts): Variant[] {
  const stored = JSON.parse(text) as StoredVariant[];
  return stored.map(([id, shape, values, sentAtMs, generation, epoch, era]) => ({
    id: texts.text(id),
    headers: headersOf(texts.shape(shape), values, etag),
    sentAtMs,
    generation,
    epoch: texts.text(epoch),
    era: era === null ? undefined : texts.text(era),
  }));
}
