/**
 * Bodies of batches in memory: read whole before anybody is asked, so bounded three times, each body in bytes and in
 * time, and all of them together in bytes.
 */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type Exchange, headerOf } from "../http/types.ts";
import type { Clock } from "../io/clock.ts";

/** A body that was read whole. It counts as held until {@link release}. */
export interface HeldBody {
  readonly bytes: Uint8Array;
  /** Idempotent. */
  release(): void;
}

/** What all bodies of a process hold together. */
export interface HeldBytes {
  now: number;
}

const ofProcess: HeldBytes = { now: 0 };

/**
 * Takes the body of a batch in. Rejects with `http-too-large` (before anything is read, where the length was announced),
 * `overloaded` when all batches hold too much, `timeout`, or as the body's reader does.
 */
export async function holdBody(
  exchange: Pick<Exchange, "head" | "body">,
  clock: Clock,
  held: HeldBytes = ofProcess,
): Promise<HeldBody> {
  const announced = exchange.body.lengthBytes ?? Number(headerOf(exchange.head.headers, "content-length") ?? 0);
  if (announced > limits.batchBodyBytesMax) throw tooLarge();
  const pieces: Uint8Array[] = [];
  let size = 0;
  let released = false;
  const release = (): void => {
    if (released) return;
    released = true;
    held.now -= size;
  };
  const late = Promise.withResolvers<never>();
  const timer = clock.after(limits.batchReadTimeoutMs, () => {
    late.reject(new ForebayError("timeout", "the body of the batch did not come in time"));
  });
  // Nobody may be waiting when it comes.
  late.promise.catch(() => {});
  try {
    const next = () => Promise.race([exchange.body.read(), late.promise]);
    for (let piece = await next(); piece !== null; piece = await next()) {
      if (size + piece.length > limits.batchBodyBytesMax) throw tooLarge();
      if (held.now + piece.length > limits.batchHeldBytesMax) {
        throw new ForebayError("overloaded", "too many bytes of batches are held");
      }
      size += piece.length;
      held.now += piece.length;
      pieces.push(piece);
    }
    return { bytes: Buffer.concat(pieces), release };
  } catch (error) {
    release();
    throw error;
  } finally {
    timer.cancel();
  }
}

function tooLarge(): ForebayError {
  return new ForebayError("http-too-large", "the batch is larger than 4 MiB");
}
