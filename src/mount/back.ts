/**
 * The event loop's side of a mount: asks the source what the FUSE thread wants to know, and answers reads of what is
 * not whole on flash to the kernel itself. Every call ends: answered, failed, interrupted, or out of time.
 */
import { asForebayError, ForebayError } from "../base/errors.ts";
import type { Clock } from "../io/clock.ts";
import { type Pinned, pinnedBuffer } from "../io/syscalls.ts";
import { mountBounds } from "./bounds.ts";
import { errnoOf } from "./errno.ts";
import type { OpenedThere, Result, ToBack, ToFront } from "./messages.ts";
import { sizes } from "./protocol.ts";
import { ReplyWriter } from "./replies.ts";
import type { FileSource, MountLog, Opened, RemoteFile } from "./types.ts";

/** What {@link createBack} stands on. */
export interface BackParts {
  readonly source: FileSource;
  readonly clock: Clock;
  readonly log: MountLog;
  readonly send: (message: ToFront) => void;
  /** Writes an answer to the kernel; -errno. */
  readonly write: (from: Pinned, length: number) => number;
}

type Call = Extract<ToBack, { readonly call: number }>;
type Question = Exclude<Call, { readonly kind: "read" | "interrupt" }>;
type Read = Extract<ToBack, { readonly kind: "read" }>;

export interface Back {
  take(message: Call | Extract<ToBack, { readonly kind: "close" }>): void;
  /** Ends every call and lets go of every file. */
  close(): void;
  readonly callsNow: number;
}

/** A buffer for one read, and the writer of its answer. */
interface Slot {
  readonly buffer: Pinned;
  readonly reply: ReplyWriter;
}

const NOBODY = { uid: 0, gid: 0, fileMode: 0, folderMode: 0 };

export function createBack(parts: BackParts): Back {
  const { source, clock, log, send } = parts;
  const calls = new Map<number, AbortController>();
  const remotes = new Map<number, RemoteFile>();
  const slots = createSlots();
  let nextRemote = 1;
  let closed = false;

  /** What `work` gives within `timeoutMs`; its signal tells it that nobody waits any more. */
  const bounded = async <T>(call: number, timeoutMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> => {
    const controller = new AbortController();
    calls.set(call, controller);
    const timer = clock.after(timeoutMs, () =>
      controller.abort(new ForebayError("timeout", `nothing came within ${timeoutMs} ms`)),
    );
    const { signal } = controller;
    const ended = new Promise<never>((_, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason), { once: true });
    });
    try {
      return await Promise.race([work(signal), ended]);
    } catch (error) {
      throw signal.aborted ? signal.reason : error;
    } finally {
      timer.cancel();
      if (calls.get(call) === controller) calls.delete(call);
    }
  };
  const keep = (opened: Opened | null): OpenedThere | null => {
    if (opened === null) return null;
    const { remote, ...rest } = opened;
    if (remote === null) return { ...rest, remote: null };
    if (closed) {
      remote.close();
      throw new ForebayError("closed", "the mount has ended");
    }
    const number = nextRemote++;
    remotes.set(number, remote);
    return { ...rest, remote: number };
  };
  const ask = async (question: Question, signal: AbortSignal): Promise<Result> => {
    switch (question.kind) {
      case "look-up":
        return { kind: "found", found: await source.lookUp(question.path, question.guess, signal) };
      case "list":
        return { kind: "listed", page: await source.list(question.path, question.from, signal) };
      case "attributes":
        return { kind: "attributes", attributes: await source.attributes(question.path, signal) };
      case "open": {
        const opened = await source.open(question.path, question.piecewise, signal);
        // Whoever asked has gone: nobody would ever close it.
        if (signal.aborted) opened?.remote?.close();
        signal.throwIfAborted();
        return { kind: "opened", opened: keep(opened) };
      }
    }
  };
  const failed = (what: string, error: unknown): number => {
    const { code, message } = asForebayError(error);
    if (code !== "cancelled") log("warn", `${what} failed`, { code, reason: message });
    return errnoOf(error);
  };
  const answer = async (question: Question): Promise<void> => {
    const { call } = question;
    try {
      const result = await bounded(call, mountBounds.callTimeoutMs, (signal) => ask(question, signal));
      send({ kind: "answer", call, result });
    } catch (error) {
      send({ kind: "failed", call, errno: failed(question.kind, error) });
    }
  };
  const read = async (request: Read): Promise<void> => {
    const { call, uniqueLow, uniqueHigh, offset, length } = request;
    let got = 0;
    let errno = 0;
    // Held until the source is done with it, even when nobody waits for the read any more.
    let slot: Slot | null = null;
    const fill = async (signal: AbortSignal): Promise<number> => {
      const remote = remotes.get(request.remote);
      if (remote === undefined) throw new ForebayError("gone", "the file was closed");
      slot = await slots.take(signal);
      return remote.read(offset, length, slot.buffer, sizes.outHeader, signal);
    };
    const filling = { done: Promise.resolve(0) };
    try {
      got = await bounded(call, mountBounds.readTimeoutMs, (signal) => {
        filling.done = fill(signal);
        return filling.done;
      });
    } catch (error) {
      errno = failed("read", error);
    }
    const writer: Slot = errno === 0 && slot !== null ? slot : slots.spare;
    parts.write(writer.buffer, writer.reply.head(uniqueLow, uniqueHigh, errno, errno === 0 ? got : 0));
    await filling.done.catch(() => {});
    if (slot !== null) slots.give(slot);
  };
  return {
    take: (message) => {
      switch (message.kind) {
        case "interrupt":
          calls.get(message.call)?.abort(new ForebayError("cancelled", "the program was interrupted"));
          break;
        case "close":
          remotes.get(message.remote)?.close();
          remotes.delete(message.remote);
          break;
        case "read":
          void read(message);
          break;
        default:
          void answer(message);
      }
    },
    close: () => {
      closed = true;
      for (const controller of calls.values()) controller.abort(new ForebayError("closed", "the mount has ended"));
      for (const remote of remotes.values()) remote.close();
      remotes.clear();
    },
    get callsNow() {
      return calls.size;
    },
  };
}

interface Slots {
  /** For answers without a body. */
  readonly spare: Slot;
  /** Waits for one; rejects with the signal's reason. */
  take(signal: AbortSignal): Promise<Slot>;
  give(slot: Slot): void;
}

function createSlots(): Slots {
  const free: Slot[] = [];
  const waiting: ((slot: Slot) => void)[] = [];
  let made = 0;
  const make = (sizeBytes: number): Slot => {
    const buffer = pinnedBuffer(sizeBytes);
    return { buffer, reply: new ReplyWriter(buffer, NOBODY) };
  };
  return {
    spare: make(64),
    take: async (signal) => {
      signal.throwIfAborted();
      const slot = free.pop();
      if (slot !== undefined) return slot;
      if (made < mountBounds.readBuffersMax) {
        made++;
        return make(mountBounds.readBytesMax + sizes.outHeader);
      }
      return new Promise<Slot>((resolve, reject) => {
        const given = (mine: Slot): void => {
          signal.removeEventListener("abort", gone);
          resolve(mine);
        };
        const gone = (): void => {
          waiting.splice(waiting.indexOf(given), 1);
          reject(signal.reason);
        };
        waiting.push(given);
        signal.addEventListener("abort", gone, { once: true });
      });
    },
    give: (slot) => {
      const next = waiting.shift();
      if (next === undefined) free.push(slot);
      else next(slot);
    },
  };
}
