/**
 * Writes that pass to the lake, kept warm: what the lake took of them becomes the cached version under the ETag that it
 * gave, so that the next read finds the bytes on flash. Only plain block blobs, and only requests of which everything
 * is understood: what the lake stores is then exactly the body. Nothing here delays or fails a write.
 */
import { hasCode } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { slotsOf } from "../engine/generations.ts";
import { createWarmWrite } from "../engine/warm-write.ts";
import type { CheckedSpan, Generation, WarmEnd } from "../flash/types.ts";
import { type BodySource, headerOf, type ResponseHead } from "../http/types.ts";
import { keyText } from "../lake/types.ts";
import { parseBlockList } from "./block-list.ts";
import { isPlain } from "./operations.ts";
import { queryValue } from "./query.ts";
import type { Placed } from "./respond.ts";
import { screenWrite, type WriteAsked } from "./write-screen.ts";

/** What is done beside a request that passes to the lake. Nothing of it throws but {@link lost}. */
export interface Warming {
  /** The request's body, with its bytes copied as they pass. */
  body(source: BodySource | null): BodySource | null;
  /** The change was announced: its generation moved, once. */
  announced(): void;
  /** The lake answered, and the end of the change was not announced yet. What follows is begun by the call given. */
  answered(head: ResponseHead): () => void;
  /** There will be no answer. Throws `error`. */
  lost(error: unknown): never;
}

const nothing = (): void => {};
const pass = (source: BodySource | null): BodySource | null => source;
const rethrow = (error: unknown): never => {
  throw error;
};
const COLD: Warming = { body: pass, announced: nothing, answered: () => nothing, lost: rethrow };

/** Begins what there is to be done for a request. Never rejects. */
export function warmWrite(placed: Placed): Warming | Promise<Warming> {
  const { name } = placed.operation;
  if (name !== "PutBlob" && name !== "PutBlock" && name !== "PutBlockList") return COLD;
  const screened = screenWrite(placed, true);
  if (screened.kind === "forward") return name === "PutBlock" ? oddBlock(placed) : COLD;
  const { asked } = screened;
  if (asked.lengthBytes === 0) return COLD;
  switch (asked.operation) {
    case "PutBlob":
      return warmBlob(placed, asked);
    case "PutBlock":
      return warmBlock(placed, asked);
    case "PutBlockList":
      return warmList(placed, asked);
    case "DeleteBlob":
      return COLD;
  }
}

function keyOf({ target }: Placed, { container, blob }: Pick<WriteAsked, "container" | "blob">): string {
  return keyText({ account: target.account, container, blob });
}

function warmBlob(placed: Placed, asked: WriteAsked): Warming {
  const { engine } = placed.front;
  const key = keyOf(placed, asked);
  const write = createWarmWrite(engine, asked.lengthBytes);
  const adopt = async (etag: string): Promise<void> => {
    const span = await write.finish();
    if (span === null) return;
    await engine.desk.adopt(engine.holder, { key, etag, sizeBytes: span.length, spans: [span] });
  };
  return {
    ...COLD,
    body: (source) => (source === null ? source : write.tee(source)),
    answered: (head) => {
      const etag = madeEtag(head);
      if (etag !== null) return () => quietly(adopt(etag));
      write.giveUp();
      return nothing;
    },
    lost: (error) => {
      write.giveUp();
      throw error;
    },
  };
}

async function warmBlock(placed: Placed, asked: WriteAsked): Promise<Warming> {
  const { engine } = placed.front;
  const { clock, desk, holder, generations } = engine;
  const key = keyOf(placed, asked);
  const ticket = await begin(placed, key, asked.blockId, generations.at(slotsOf(key)));
  if (ticket === null) return COLD;
  const write = createWarmWrite(engine, asked.lengthBytes);
  const end = (how: WarmEnd): void => quietly(desk.warmEnd(holder, ticket, how));
  const remember = async (answeredAtMs: number): Promise<void> => {
    const span: CheckedSpan | null = await write.finish();
    end(span === null ? { kind: "nothing" } : { kind: "block", span, answeredAtMs });
  };
  return {
    ...COLD,
    body: (source) => (source === null ? source : write.tee(source)),
    answered: ({ status }) => {
      const answeredAtMs = clock.monotonicMs();
      if (status === 201) return () => quietly(remember(answeredAtMs));
      write.giveUp();
      end({ kind: isRefusal(status) ? "nothing" : "unknown" });
      return nothing;
    },
    lost: (error) => {
      // Of a body that broke off the lake makes no block.
      const unsent = !write.isWhole || hasCode(error, "lake-unreachable", "overloaded");
      write.giveUp();
      end({ kind: unsent ? "nothing" : "unknown" });
      throw error;
    },
  };
}

/** A block that is not to be kept takes the place of one that may be remembered. */
async function oddBlock(placed: Placed): Promise<Warming> {
  const { target, query, front } = placed;
  const { account, container, blob } = target;
  const { generations, desk, holder } = front.engine;
  if (container === null || blob === null) return COLD;
  const id = queryValue(query, "blockid");
  if (target.ambiguous || !isPlain(query) || id === undefined) {
    // It is not certain which one: all that may be meant are void.
    generations.move({ account, container, blob: null });
    return COLD;
  }
  const key = keyText({ account, container, blob });
  const ticket = await begin(placed, key, id, generations.at(slotsOf(key)));
  if (ticket !== null) quietly(desk.warmEnd(holder, ticket, { kind: "unknown" }));
  return COLD;
}

/** Bytes of lists that this process holds. */
let listsBytes = 0;

async function warmList(placed: Placed, asked: WriteAsked): Promise<Warming> {
  const { desk, holder, generations } = placed.front.engine;
  const key = keyOf(placed, asked);
  const slots = slotsOf(key);
  const before = generations.at(slots);
  const ticket = await begin(placed, key, null, before);
  if (ticket === null) return COLD;
  let [moved, isAlone]: [Generation, boolean] = [before, false];
  let list = holdList(asked.lengthBytes);
  const end = (how: WarmEnd): void => quietly(desk.warmEnd(holder, ticket, how));
  const letGo = (): void => {
    list?.release();
    list = null;
  };
  return {
    body: (source) => (source === null || list === null ? source : list.tee(source)),
    announced: () => {
      moved = generations.at(slots);
      // Somebody else's change in between may have taken the blocks away, and others have the same ids.
      isAlone = moved[0] === ((before[0] + 1) | 0) && moved[1] === before[1] && moved[2] === before[2];
    },
    answered: (head) => {
      const etag = madeEtag(head);
      const blockIds = list === null ? null : parseBlockList(list.bytes());
      letGo();
      const isCertain = isAlone && generations.same(slots, moved);
      const known = etag !== null && blockIds !== null && isCertain;
      const how: WarmEnd = known ? { kind: "list", blockIds, etag } : { kind: "unknown" };
      return () => end(how);
    },
    lost: (error) => {
      letGo();
      end({ kind: "unknown" });
      throw error;
    },
  };
}

/** Memory for a list as it passes; null when too much is held already. */
function holdList(lengthBytes: number) {
  if (listsBytes + lengthBytes > limits.warmListsBytesMax) return null;
  listsBytes += lengthBytes;
  const pieces: Uint8Array[] = [];
  return {
    tee: (source: BodySource): BodySource => ({
      lengthBytes: source.lengthBytes,
      next: async () => {
        const piece = await source.next();
        if (piece?.kind === "bytes") pieces.push(piece.bytes.slice());
        return piece;
      },
      close: () => source.close(),
    }),
    bytes: (): Uint8Array => Buffer.concat(pieces),
    release: (): void => {
      listsBytes -= lengthBytes;
    },
  };
}

/** The ETag of what the lake made of a body, or null. */
function madeEtag({ status, headers }: ResponseHead): string | null {
  return status === 201 ? (headerOf(headers, "etag") ?? null) : null;
}

/** Whether the lake has certainly done nothing. */
function isRefusal(status: number): boolean {
  return (status >= 400 && status < 500 && status !== 408) || status === 503;
}

/** Tells the keeper of what is to be sent. Null, without waiting long, when it has no ticket for it. */
async function begin(
  { front }: Placed,
  key: string,
  blockId: string | null,
  generation: Generation,
): Promise<number | null> {
  const { desk, holder, clock } = front.engine;
  return new Promise((resolve) => {
    let late = false;
    const timer = clock.after(limits.warmBeginWaitMs, () => {
      late = true;
      resolve(null);
    });
    const told = (async () => desk.warmBegin(holder, key, blockId, generation))();
    told.then(
      (ticket) => {
        timer.cancel();
        // Nobody waits for it any more: it is on its way all the same.
        if (late && ticket !== null) quietly(desk.warmEnd(holder, ticket, { kind: "unknown" }));
        resolve(ticket);
      },
      () => {
        timer.cancel();
        resolve(null);
      },
    );
  });
}

/** Whatever comes of it: it is only a cache. */
function quietly(work: Promise<unknown>): void {
  work.catch(nothing);
}
