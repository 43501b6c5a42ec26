/**
 * A client and its connection in the simulated world: puts a request to a handler, takes the answer as slowly as it
 * likes, and goes away when it likes. What it got is what a client would know: a status, headers, bytes, and whether
 * the answer was whole.
 */
import { ForebayError } from "../src/base/errors.ts";
import type { RequestHead, ResponseHead, Segment } from "../src/http/types.ts";
import { type BodyReader, type BodySource, type Exchange, type Handler, headerOf } from "../src/http/types.ts";
import type { Clock } from "../src/io/clock.ts";

/** `complete`: whole. `cut`: the connection broke. `left`: the client went away itself. */
export type Ending = "complete" | "cut" | "left";

/** What a client knows in the end. Times are of the monotonic clock. */
export interface Received {
  readonly ending: Ending;
  /** 0 when no head came. */
  readonly status: number;
  readonly headers: readonly string[];
  /** What Content-Length said; null when it said nothing. */
  readonly announcedBytes: number | null;
  readonly bytes: Uint8Array;
  readonly startedAtMs: number;
  readonly headAtMs: number;
  readonly endedAtMs: number;
  /** What went wrong inside, for people. */
  readonly cause: unknown;
}

/** How a client behaves. */
export interface Manners {
  /** Pause after each piece taken or sent, and the size of pieces. */
  readonly pauseMs?: number;
  readonly pieceBytes?: number;
  /** Goes away after so many bytes of the answer's body, or so many milliseconds. */
  readonly leaveAfterBytes?: number;
  readonly leaveAfterMs?: number;
}

export interface Call {
  readonly handler: Handler;
  readonly clock: Clock;
  readonly head: RequestHead;
  /** Null: a request without a body. */
  readonly body: Uint8Array | null;
  /** Reads from a descriptor of the server, as sendfile does. Throws as the disk does. */
  readonly readFile: (fd: number, bytes: Uint8Array, offset: number) => number;
  readonly manners?: Manners;
  readonly remoteAddress?: string;
  readonly secure?: boolean;
}

/** A request under way. */
export interface Ongoing {
  readonly received: Promise<Received>;
  /** The server's process ended: the connection breaks, and nothing of it runs any more. */
  serverDied(): void;
  /** Whether the body source was closed as often as it must be (0 or 1 times: exactly once when there was one). */
  readonly closes: () => { readonly sources: number; readonly closed: number };
}

const PIECE_BYTES = 16 * 1024;

/** Starts a request. */
export function startExchange(call: Call): Ongoing {
  const { clock } = call;
  const manners = call.manners ?? {};
  const abort = new AbortController();
  const startedAtMs = clock.monotonicMs();
  const pieces: Uint8Array[] = [];
  let gotBytes = 0;
  let headAtMs = -1;
  let head: ResponseHead = { status: 0, reason: "", headers: [] };
  let announcedBytes: number | null = null;
  let over = false;
  let dead = false;
  let responded = false;
  const counts = { sources: 0, closed: 0 };
  let closeSource: () => void = () => {};
  const { promise: received, resolve } = Promise.withResolvers<Received>();
  /** Ends what waits for the client when it leaves, or when the server dies. */
  const gone = Promise.withResolvers<never>();
  gone.promise.catch(() => {});

  const finish = (ending: Ending, cause: unknown): void => {
    if (over) return;
    over = true;
    const bytes = new Uint8Array(Buffer.concat(pieces));
    const { status, headers } = head;
    const endedAtMs = clock.monotonicMs();
    if (headAtMs < 0) headAtMs = endedAtMs;
    resolve({ ending, status, headers, announcedBytes, bytes, startedAtMs, headAtMs, endedAtMs, cause });
  };
  const leave = (): void => {
    if (over || dead) return;
    const error = new ForebayError("cancelled", "the client went away");
    finish("left", error);
    abort.abort(error);
    gone.reject(error);
  };
  const take = async (bytes: Uint8Array): Promise<void> => {
    pieces.push(bytes.slice());
    gotBytes += bytes.length;
    if (manners.leaveAfterBytes !== undefined && gotBytes >= manners.leaveAfterBytes) leave();
    if (!over && manners.pauseMs !== undefined) await Promise.race([clock.sleep(manners.pauseMs), gone.promise]);
    if (over) throw new ForebayError("cancelled", "the client went away");
  };
  const takeSegment = async (segment: Segment): Promise<void> => {
    const size = manners.pieceBytes ?? PIECE_BYTES;
    const length = segment.kind === "bytes" ? segment.bytes.length : segment.length;
    for (let at = 0; at < length; at += size) {
      const count = Math.min(size, length - at);
      if (segment.kind === "bytes") {
        await take(segment.bytes.subarray(at, at + count));
        continue;
      }
      const bytes = new Uint8Array(count);
      const got = call.readFile(segment.fd, bytes, segment.offset + at);
      await take(bytes.subarray(0, got));
      if (got < count) throw new ForebayError("gone", "the file ended before its length");
    }
  };
  const transfer = async (source: BodySource): Promise<void> => {
    for (;;) {
      const segment = await Promise.race([Promise.resolve(source.next()), gone.promise]);
      if (segment === null) break;
      await takeSegment(segment);
      if (announcedBytes !== null && gotBytes > announcedBytes) {
        throw new ForebayError("internal", "the body was longer than announced");
      }
    }
    if (announcedBytes !== null && gotBytes !== announcedBytes) {
      throw new ForebayError("gone", "the body ended before its length");
    }
  };
  const respond = async (
    given: ResponseHead,
    body: BodySource | null,
    contentLength: number | undefined,
  ): Promise<void> => {
    if (responded) throw new ForebayError("internal", "a request is answered once");
    responded = true;
    if (body !== null) counts.sources++;
    let closed = false;
    closeSource = () => {
      if (closed || body === null || dead) return;
      closed = true;
      counts.closed++;
      body.close();
    };
    if (over) {
      closeSource();
      throw new ForebayError("cancelled", "the client went away");
    }
    head = { ...given, headers: [...(given.block?.headers ?? []), ...given.headers] };
    headAtMs = clock.monotonicMs();
    const none = call.head.method === "HEAD" || given.status === 204 || given.status === 304;
    announcedBytes = none ? (contentLength ?? body?.lengthBytes ?? null) : body === null ? 0 : body.lengthBytes;
    try {
      if (!none && body !== null) await transfer(body);
    } catch (error) {
      closeSource();
      finish("cut", error);
      throw error;
    }
    closeSource();
    finish("complete", null);
  };

  const exchange: Exchange = {
    head: call.head,
    body: uploadOf(call, () => over, gone.promise),
    remoteAddress: call.remoteAddress ?? "10.1.1.1",
    secure: call.secure ?? true,
    signal: abort.signal,
    respond: (given, body, contentLength) => {
      const done = respond(given, body, contentLength);
      done.catch(() => {});
      return done;
    },
  };
  if (manners.leaveAfterMs !== undefined) clock.after(manners.leaveAfterMs, leave);
  void (async () => {
    try {
      await call.handler(exchange);
      if (!responded) throw new ForebayError("internal", "a handler gave no answer");
    } catch (error) {
      // As the server does: 500 when nothing was sent yet, else the connection is cut.
      if (!responded && !over && !dead) {
        responded = true;
        head = { status: 500, reason: "Internal Server Error", headers: [] };
        finish("complete", error);
      } else finish("cut", error);
    }
  })();
  return {
    received,
    serverDied: () => {
      finish("cut", new ForebayError("closed", "the server's process ended"));
      dead = true;
    },
    closes: () => counts,
  };
}

/** The request's body as it comes from the client. */
function uploadOf(call: Call, isOver: () => boolean, gone: Promise<never>): BodyReader {
  const bytes = call.body ?? new Uint8Array(0);
  const size = call.manners?.pieceBytes ?? PIECE_BYTES;
  const pauseMs = call.manners?.pauseMs;
  let at = 0;
  let cancelled = false;
  return {
    lengthBytes: call.body === null && headerOf(call.head.headers, "content-length") === undefined ? 0 : bytes.length,
    read: async () => {
      if (cancelled || isOver()) throw new ForebayError("cancelled", "the client went away");
      if (at >= bytes.length) return null;
      if (pauseMs !== undefined) await Promise.race([call.clock.sleep(pauseMs), gone]);
      const piece = bytes.slice(at, at + size);
      at += piece.length;
      return piece;
    },
    cancel: () => {
      cancelled = true;
    },
  };
}
