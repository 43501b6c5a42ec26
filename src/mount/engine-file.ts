/**
 * The bytes of one version, piece by piece: from flash where they are, else from the lake, through the engine, which
 * keeps what it fetches and reads ahead. The version was decided when the file was opened: nobody checks it again, and
 * where another one has taken its place and its bytes are gone, a read fails rather than mix the two.
 */
import { ForebayError } from "../base/errors.ts";
import type { EngineContext } from "../engine/context.ts";
import { letGo } from "../engine/let-go.ts";
import type { Serve } from "../engine/types.ts";
import { type BodySource, headerOf, type RawHeaders } from "../http/types.ts";
import { isCached } from "../io/page-cache.ts";
import { type Pinned, pread } from "../io/syscalls.ts";
import { LAKE_API_VERSION } from "../lake/types.ts";
import { type Asking, keyOf, mayBePending, pendingRead, requestOf, type Version } from "./engine-answers.ts";
import type { RemoteFile } from "./types.ts";

interface Wanted {
  readonly first: number;
  readonly length: number;
  readonly into: Pinned;
  readonly at: number;
  readonly signal: AbortSignal;
}

/** Opens `version` for reads. */
export function openRemote(asking: Asking, version: Version): RemoteFile {
  return {
    read: async (offset, length, into, at, signal) => {
      const count = Math.min(length, version.sizeBytes - offset);
      if (count <= 0) return 0;
      await readPiece(asking, version, { first: offset, length: count, into, at, signal });
      return count;
    },
    close: () => {},
  };
}

async function readPiece(asking: Asking, version: Version, wanted: Wanted): Promise<void> {
  const etags = new Set([version.etag]);
  if (version.at === "pending") {
    const served = await pendingPiece(asking, version, wanted, etags);
    if (served) return;
  }
  const { first, length, signal } = wanted;
  const request = requestOf(asking, version.blob, signal, {
    form: "range",
    range: { first, last: first + length - 1 },
    policy: { ...asking.policyOf(version.blob), maxStaleMs: Number.MAX_SAFE_INTEGER, onLakeOutage: "serve" },
    conditionsHold: (headers: RawHeaders) => etags.has(headerOf(headers, "etag") ?? ""),
  });
  const outcome = await asking.reader.read(request);
  switch (outcome.kind) {
    case "serve":
      return take(asking.context, outcome, wanted);
    case "unavailable":
      throw new ForebayError("lake-unreachable", `the lake cannot be asked: ${outcome.why}`);
    case "answer":
      letGo(outcome.response.body);
      if (outcome.response.head.status === 404) throw changed();
      throw new ForebayError("lake-refused", `the lake answered ${outcome.response.head.status}`);
    case "forward":
      return lakePiece(asking, version, wanted, [...etags][0] ?? "");
  }
}

const changed = (): ForebayError => new ForebayError("lake-changed", "the version that was opened is no more");

/** From the journal; false when the lake has it by now, under an ETag that is then added to `etags`. */
async function pendingPiece(asking: Asking, version: Version, wanted: Wanted, etags: Set<string>): Promise<boolean> {
  const { first, length } = wanted;
  const { pending } = asking.reader;
  const key = pendingRead(asking, version.blob, "range");
  if (await mayBePending(asking, version.blob)) {
    const judge = (etag: string) => (etag === version.etag ? ("holds" as const) : ("failed" as const));
    const outcome = await pending.read({ ...key, range: { first, last: first + length - 1 }, judge });
    if (outcome.kind === "serve") {
      await take(asking.context, outcome, wanted);
      return true;
    }
    if (outcome.kind === "lost") throw new ForebayError("flash-failed", "what was acknowledged cannot be read");
    if (outcome.kind !== "none") throw changed();
  }
  const alias = await pending.alias(key);
  if (alias === null || bare(alias.etag) !== bare(version.etag)) throw changed();
  etags.clear();
  etags.add(`"${bare(alias.lakeEtag)}"`);
  return false;
}

const bare = (etag: string): string => etag.replaceAll('"', "");

/** Takes the bytes of an answer. They are as many as were asked for, or it rejects. */
async function take(context: EngineContext, { body, length }: Serve, wanted: Wanted): Promise<void> {
  if (body === null || length !== wanted.length) {
    body?.close();
    throw changed();
  }
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});
  const abort = (): void => gone.reject(wanted.signal.reason);
  wanted.signal.addEventListener("abort", abort, { once: true });
  try {
    await pour(context, body, wanted, gone.promise);
  } finally {
    wanted.signal.removeEventListener("abort", abort);
    body.close();
  }
}

async function pour(context: EngineContext, body: BodySource, wanted: Wanted, gone: Promise<never>): Promise<void> {
  let { at } = wanted;
  const end = wanted.at + wanted.length;
  while (at < end) {
    const coming = body.next();
    const segment = coming instanceof Promise ? await Promise.race([coming, gone]) : coming;
    if (segment === null) break;
    if (segment.kind === "bytes") {
      if (segment.bytes.length > end - at) break;
      wanted.into.bytes.set(segment.bytes, at);
      at += segment.bytes.length;
    } else {
      if (segment.length > end - at) break;
      await readFile(context, segment, wanted.into, at);
      at += segment.length;
    }
  }
  if (at !== end) throw new ForebayError("lake-corrupt", "an answer has another length than it said");
}

/** What the page cache has is read at once; what comes from the disk must not hold up the event loop. */
async function readFile(
  { disk }: EngineContext,
  { fd, offset, length }: { readonly fd: number; readonly offset: number; readonly length: number },
  into: Pinned,
  at: number,
): Promise<void> {
  let done = 0;
  while (done < length) {
    const count = isCached(fd, offset + done, length - done)
      ? pread(fd, into, at + done, length - done, offset + done)
      : await disk.read(fd, into.bytes.subarray(at + done, at + length), offset + done);
    if (count <= 0) throw new ForebayError("flash-failed", "a cache file is shorter than it was");
    done += count;
  }
}

/** Of the lake alone: for what the engine does not keep. */
async function lakePiece(asking: Asking, version: Version, wanted: Wanted, etag: string): Promise<void> {
  const { first, length, signal } = wanted;
  const response = await asking.lake.read({
    key: keyOf(asking, version.blob),
    method: "GET",
    range: { first, last: first + length - 1 },
    ifMatch: etag,
    apiVersion: LAKE_API_VERSION,
    credential: { kind: "own" },
    signal,
  });
  const { status } = response.head;
  if (status !== 206 && status !== 200) {
    letGo(response.body);
    if (status === 404 || status === 412 || status === 416) throw changed();
    throw new ForebayError("lake-refused", `the lake answered ${status}`);
  }
  let at = wanted.at;
  const end = at + length;
  for (let chunk = await response.body.read(); chunk !== null; chunk = await response.body.read()) {
    if (chunk.length > end - at) break;
    wanted.into.bytes.set(chunk, at);
    at += chunk.length;
  }
  if (at === end) return;
  response.body.cancel();
  throw new ForebayError("lake-corrupt", "the lake's answer has another length than was asked for");
}
