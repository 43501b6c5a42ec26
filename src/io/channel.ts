/**
 * Calls between the processes of one Forebay over a Unix socket: frames of a four-byte length and JSON. Both sides
 * may call. Used on misses, checks and for control; a hit sends nothing.
 */
import { rmSync } from "node:fs";
import { assert } from "../base/assert.ts";
import { type ErrorCode, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";

/** Answers the calls of the other side. A rejection is passed on with its code. */
export type CallHandler = (method: string, args: readonly unknown[], peer: Peer) => Promise<unknown>;

/** The other end of a channel. */
export interface Peer {
  /** Calls the other side. Rejects with `closed` when the channel ends first, `timeout` after `timeoutMs`. */
  call(method: string, args: readonly unknown[], timeoutMs?: number): Promise<unknown>;
  /** Resolves when the channel has ended. */
  readonly closed: Promise<void>;
  /**
   * Ends the channel: calls under way reject, nothing more is heard. Resolves when the other side was sent all that it
   * was to be told, or did not take it for `limits.channelDrainMs`.
   */
  close(): Promise<void>;
}

interface Pending {
  resolve(value: unknown): void;
  reject(error: ForebayError): void;
  timer: ReturnType<typeof setTimeout>;
}

type Message =
  | { readonly t: "call"; readonly id: number; readonly method: string; readonly args: readonly unknown[] }
  | { readonly t: "done"; readonly id: number; readonly value: unknown }
  | { readonly t: "fail"; readonly id: number; readonly code: ErrorCode; readonly message: string };

interface Wire {
  write(bytes: Uint8Array): number;
  end(): void;
}

/** A frame: its length, then JSON. Bytes travel as base64 inside it. */
function encode(message: Message): Buffer {
  const text = JSON.stringify(holdsBytes(message) ? withBase64(message) : message);
  const frame = Buffer.allocUnsafe(4 + text.length * UTF8_BYTES_MAX);
  const length = frame.write(text, 4);
  assert(length <= limits.channelFrameBytesMax, "a frame between processes is within its bound");
  frame.writeUInt32LE(length, 0);
  return frame.subarray(0, 4 + length);
}

/** Bytes of UTF-8 for one unit of UTF-16, at most. */
const UTF8_BYTES_MAX = 3;

function decode(bytes: Buffer): Message {
  const text = bytes.toString("utf8");
  const message: unknown = JSON.parse(text);
  return (text.includes('"$bytes":') ? fromBase64(message) : message) as Message;
}

// A replacer and a reviver of JSON would do the same for all of these, at three times the cost for every message.

function holdsBytes(value: unknown): boolean {
  if (typeof value !== "object" || value === null) return false;
  if (value instanceof Uint8Array) return true;
  if (Array.isArray(value)) {
    for (const held of value) if (typeof held === "object" && holdsBytes(held)) return true;
    return false;
  }
  for (const name in value) if (holdsBytes((value as Record<string, unknown>)[name])) return true;
  return false;
}

function withBase64(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (value instanceof Uint8Array) return { $bytes: Buffer.from(value).toString("base64") };
  if (Array.isArray(value)) return value.map(withBase64);
  return Object.fromEntries(Object.entries(value).map(([name, held]) => [name, withBase64(held)]));
}

function fromBase64(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(fromBase64);
  if ("$bytes" in value && typeof value.$bytes === "string") return new Uint8Array(Buffer.from(value.$bytes, "base64"));
  return Object.fromEntries(Object.entries(value).map(([name, held]) => [name, fromBase64(held)]));
}

/** The two halves of one end: what arrives, and the {@link Peer} to call with. */
interface End {
  readonly peer: Peer;
  received(bytes: Uint8Array): void;
  drained(): void;
  ended(): void;
}

function createEnd(wire: Wire, handler: CallHandler): End {
  const pending = new Map<number, Pending>();
  let nextId = 1;
  let open = true;
  /** Ends the socket; called once what is to be sent before that was. */
  let drained: (() => void) | null = null;
  let unsent: Buffer[] = [];
  let posting = false;
  let partial: Buffer = Buffer.alloc(0);
  let whenClosed: () => void = () => {};
  const closed = new Promise<void>((resolve) => {
    whenClosed = resolve;
  });

  const flush = (): void => {
    while (unsent.length > 0) {
      const first = unsent[0] as Buffer;
      const written = Math.max(0, wire.write(first));
      if (written < first.length) {
        unsent[0] = first.subarray(written);
        return;
      }
      unsent.shift();
    }
    drained?.();
  };
  const drain = (): Promise<void> =>
    new Promise((resolve) => {
      const done = (): void => {
        drained = null;
        clearTimeout(timer);
        wire.end();
        resolve();
      };
      const timer = setTimeout(done, limits.channelDrainMs);
      drained = done;
      flush();
    });
  const post = (message: Message): void => {
    if (!open) return;
    unsent.push(encode(message));
    if (posting || unsent.length > 1) return;
    posting = true;
    setImmediate(postAll);
  };
  /** What is said in one turn of the loop goes out together. */
  const postAll = (): void => {
    posting = false;
    if (unsent.length > 1) unsent = [Buffer.concat(unsent)];
    flush();
  };
  const answer = async (id: number, method: string, args: readonly unknown[]): Promise<void> => {
    try {
      post({ t: "done", id, value: (await handler(method, args, peer)) ?? null });
    } catch (error) {
      const code = error instanceof ForebayError ? error.code : "internal";
      post({ t: "fail", id, code, message: error instanceof Error ? error.message : String(error) });
    }
  };
  const take = (message: Message): void => {
    if (message.t === "call") {
      void answer(message.id, message.method, message.args);
      return;
    }
    const waiting = pending.get(message.id);
    if (waiting === undefined) return;
    pending.delete(message.id);
    clearTimeout(waiting.timer);
    if (message.t === "done") waiting.resolve(message.value);
    else waiting.reject(new ForebayError(message.code, message.message));
  };
  const finish = (): void => {
    if (!open) return;
    open = false;
    for (const waiting of pending.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(new ForebayError("closed", "the channel between the processes ended"));
    }
    pending.clear();
    whenClosed();
  };
  let draining = Promise.resolve();
  const peer: Peer = {
    call: (method, args, timeoutMs = limits.keeperReplyTimeoutMs) =>
      new Promise((resolve, reject) => {
        if (!open) return reject(new ForebayError("closed", "the channel between the processes is closed"));
        if (pending.size >= limits.channelCallsMax) {
          return reject(new ForebayError("overloaded", "too many calls between the processes are under way"));
        }
        const id = nextId++;
        const timer = setTimeout(() => {
          pending.delete(id);
          reject(new ForebayError("timeout", `no answer to ${method} within ${timeoutMs} ms`));
        }, timeoutMs);
        pending.set(id, { resolve, reject, timer });
        post({ t: "call", id, method, args });
      }),
    closed,
    close: () => {
      if (!open) return draining;
      finish();
      draining = drain();
      return draining;
    },
  };
  return {
    peer,
    received: (bytes) => {
      if (!open) return;
      partial = partial.length === 0 ? Buffer.from(bytes) : Buffer.concat([partial, bytes]);
      let at = 0;
      while (partial.length - at >= 4) {
        const length = partial.readUInt32LE(at);
        if (length > limits.channelFrameBytesMax) {
          void peer.close();
          return;
        }
        if (partial.length - at - 4 < length) break;
        take(decode(partial.subarray(at + 4, at + 4 + length)));
        at += 4 + length;
      }
      partial = partial.subarray(at);
    },
    drained: flush,
    ended: () => {
      finish();
      unsent = [];
      drained?.();
    },
  };
}

/** Who listens for peers. */
export interface ChannelListener {
  /** Listens no more, and closes every peer; resolves as {@link Peer.close} does. */
  close(): Promise<void>;
}

/** Listens on `path`, taking the place of a listener that died. `joined` hears of each new peer. */
export function listenChannel(path: string, handler: CallHandler, joined: (peer: Peer) => void): ChannelListener {
  // A process that was killed leaves the name behind, and a name that is there cannot be listened on.
  rmSync(path, { force: true });
  const peers = new Set<Peer>();
  const listener = Bun.listen<{ end: End | null }>({
    unix: path,
    socket: {
      open: (socket) => {
        const end = createEnd(socket, handler);
        socket.data = { end };
        peers.add(end.peer);
        void end.peer.closed.then(() => peers.delete(end.peer));
        joined(end.peer);
      },
      data: (socket, bytes) => socket.data.end?.received(bytes),
      drain: (socket) => socket.data.end?.drained(),
      close: (socket) => socket.data?.end?.ended(),
      error: (socket) => socket.data?.end?.ended(),
    },
  });
  return {
    close: async () => {
      listener.stop(false);
      await Promise.all([...peers].map((peer) => peer.close()));
    },
  };
}

/** Connects to `path`. Rejects with `closed` when nobody listens there. */
export async function connectChannel(path: string, handler: CallHandler): Promise<Peer> {
  const ends: { end: End | null } = { end: null };
  try {
    const socket = await Bun.connect<{ end: End | null }>({
      unix: path,
      data: ends,
      socket: {
        open: (opened) => {
          ends.end = createEnd(opened, handler);
        },
        data: (_socket, bytes) => ends.end?.received(bytes),
        drain: () => ends.end?.drained(),
        close: () => ends.end?.ended(),
        error: () => ends.end?.ended(),
      },
    });
    ends.end ??= createEnd(socket, handler);
    return ends.end.peer;
  } catch (cause) {
    throw new ForebayError("closed", "nobody answers on the channel between the processes", { cause });
  }
}
