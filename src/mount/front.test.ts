import { describe, expect, test } from "bun:test";
import type { ToBack } from "./messages.ts";
import { errnos, opcodes, openFlags } from "./protocol.ts";
import {
  type Answer,
  entryOf,
  type FakeKernel,
  fakeKernel,
  named,
  namesOf,
  openedOf,
  readBody,
  releaseBody,
  words,
} from "./test-support.ts";
import type { FoundFile, Listed } from "./types.ts";

const ROOT = 1;

const fileOf = (kernel: FakeKernel, etag: string, rest: Partial<FoundFile> = {}): FoundFile => ({
  kind: "file",
  sizeBytes: 100,
  etag,
  mtimeMs: 1_700_000_000_500,
  freshUntilMs: kernel.nowMs + 10_000,
  stamp: { slot: 1, sum: (kernel.counters[1] ?? 0) >>> 0 },
  ...rest,
});

function begin(given: Parameters<typeof fakeKernel>[0] = {}) {
  const kernel = fakeKernel(given);
  kernel.agree();
  const asked = <K extends ToBack["kind"]>(kind: K): Extract<ToBack, { kind: K }> => {
    const message = kernel.told.at(-1);
    if (message?.kind !== kind) throw new Error(`asked ${message?.kind}, not ${kind}`);
    return message as Extract<ToBack, { kind: K }>;
  };
  const answered = (unique: number): Answer => {
    const answer = kernel.answerTo(unique);
    if (answer === undefined) throw new Error(`request ${unique} has no answer`);
    return answer;
  };
  const lookUp = (name: string, found: FoundFile) => {
    const unique = kernel.send(opcodes.LOOKUP, ROOT, named(name));
    if (kernel.answerTo(unique) === undefined) {
      const { call } = asked("look-up");
      kernel.front.hear({ kind: "answer", call, result: { kind: "found", found } });
    }
    return entryOf(answered(unique).body);
  };
  /** Opens; where the back is asked, the file is in cache file `fileId`, or comes in pieces when that is null. */
  const open = (nodeId: number, file: FoundFile, fileId: number | null): Answer => {
    const unique = kernel.send(opcodes.OPEN, nodeId, words(0, 0));
    if (kernel.answerTo(unique) === undefined) {
      const { call } = asked("open");
      const backing = fileId === null ? null : { fileId, versionId: fileId };
      const opened = { ...file, backing, remote: fileId === null ? 7 : null };
      kernel.front.hear({ kind: "answer", call, result: { kind: "opened", opened } });
    }
    return answered(unique);
  };
  return { kernel, asked, answered, lookUp, open };
}

describe("the FUSE thread", () => {
  test("agrees with a kernel that can pass reads through, and says when it cannot", () => {
    const { kernel } = begin();
    expect(kernel.told[0]).toMatchObject({ kind: "ready", mode: "passthrough", why: null });
    const poor = fakeKernel();
    poor.backingErrno = 1;
    poor.agree();
    expect(poor.told[0]).toMatchObject({ kind: "ready", mode: "copying" });
    const old = fakeKernel();
    old.send(opcodes.INIT, 0, words(7, 12, 0, 0));
    expect(old.answers[0]?.errno).toBe(errnos.EPROTO);
    expect(old.told[0]?.kind).toBe("ended");
  });

  test("a name is asked for once while it is fresh, and again when the blob changed", () => {
    const { kernel, lookUp } = begin();
    const first = lookUp("f", fileOf(kernel, "1"));
    expect(first).toMatchObject({ sizeBytes: 100, ttlSeconds: 10 });
    const told = kernel.told.length;
    expect(lookUp("f", fileOf(kernel, "never asked")).nodeId).toBe(first.nodeId);
    expect(kernel.told.length).toBe(told);
    kernel.counters[1] = 5;
    const second = lookUp("f", fileOf(kernel, "2", { sizeBytes: 7 }));
    expect(second.nodeId).not.toBe(first.nodeId);
    expect(second.ino).toBe(first.ino);
    kernel.nowMs += 20_000;
    expect(lookUp("f", fileOf(kernel, "2", { sizeBytes: 7 })).nodeId).toBe(second.nodeId);
  });

  test("a whole file is handed to the kernel; the next open asks nobody and uses the same backing", () => {
    const { kernel, lookUp, open } = begin();
    const file = fileOf(kernel, "1");
    const { nodeId } = lookUp("f", file);
    const first = openedOf(open(nodeId, file, 9));
    expect(first.flags & openFlags.PASSTHROUGH).not.toBe(0);
    const told = kernel.told.length;
    expect(openedOf(open(nodeId, file, 9)).backing).toBe(first.backing);
    expect(kernel.told.length).toBe(told);
    expect(kernel.openFiles.size).toBe(0);
    for (let i = 0; i < 2; i++) kernel.send(opcodes.RELEASE, nodeId, releaseBody(0));
    expect(kernel.backings.size).toBe(1);
    kernel.front.hear({ kind: "forget-all" });
    expect(kernel.backings.size).toBe(0);
    open(nodeId, file, 9);
    kernel.send(opcodes.RELEASE, nodeId, releaseBody(0));
    expect(kernel.backings.size).toBe(1);
    kernel.send(opcodes.FORGET, nodeId, words(1, 0));
    expect(kernel.backings.size).toBe(0);
    expect(kernel.front.held.inodes).toBe(1);
  });

  test("what an eviction unlinked is let go at once when idle, else at the last close", () => {
    const { kernel, lookUp, open } = begin();
    const file = fileOf(kernel, "1");
    const { nodeId } = lookUp("f", file);
    open(nodeId, file, 9);
    kernel.front.hear({ kind: "evicted", number: 1, fileIds: [9, 10] });
    expect(kernel.told.some(({ kind }) => kind === "let-go")).toBe(false);
    kernel.send(opcodes.RELEASE, nodeId, releaseBody(0));
    expect(kernel.told.at(-1)).toEqual({ kind: "let-go", number: 1 });
    expect(kernel.backings.size).toBe(0);
    kernel.front.hear({ kind: "evicted", number: 2, fileIds: [9] });
    expect(kernel.told.at(-1)).toEqual({ kind: "let-go", number: 2 });
  });

  test("an inode is read in one way: what became whole is another inode, after one ESTALE", () => {
    const { kernel, lookUp, open } = begin();
    const file = fileOf(kernel, "1");
    const pieces = lookUp("f", file);
    const held = openedOf(open(pieces.nodeId, file, null));
    expect(held.flags & openFlags.KEEP_CACHE).not.toBe(0);
    expect(open(pieces.nodeId, file, 9).errno).toBe(errnos.ESTALE);
    const whole = lookUp("f", file);
    expect(whole.nodeId).not.toBe(pieces.nodeId);
    expect(whole.ino).toBe(pieces.ino);
    expect(openedOf(open(whole.nodeId, file, 9)).flags & openFlags.PASSTHROUGH).not.toBe(0);
    // Whoever has the first one open reads on.
    kernel.send(opcodes.READ, pieces.nodeId, readBody(held.handle, 0, 4096));
    expect(kernel.told.at(-1)).toMatchObject({ kind: "read", remote: 7, offset: 0, length: 100 });
    kernel.send(opcodes.RELEASE, pieces.nodeId, releaseBody(held.handle));
    expect(kernel.told.at(-1)).toEqual({ kind: "close", remote: 7 });
  });

  test("another version at the open is an ESTALE once bytes were read, and taken over before", () => {
    const { kernel, lookUp, open } = begin();
    const { nodeId } = lookUp("f", fileOf(kernel, "1"));
    expect(open(nodeId, fileOf(kernel, "2"), null).errno).toBe(0);
    kernel.counters[1] = 1;
    expect(open(nodeId, fileOf(kernel, "3"), null).errno).toBe(errnos.ESTALE);
    expect(kernel.told.at(-1)).toEqual({ kind: "close", remote: 7 });
    const { nodeId: other } = lookUp("f", fileOf(kernel, "3"));
    kernel.counters[1] = 2;
    expect(open(other, fileOf(kernel, "4", { sizeBytes: 5 }), null).errno).toBe(errnos.ESTALE);
  });

  test("a cache file that is gone, or of another length, is not read: the file comes in pieces", () => {
    const { kernel, lookUp, open, asked } = begin();
    const file = fileOf(kernel, "1");
    const { nodeId } = lookUp("f", file);
    kernel.fileBytes = 101;
    kernel.send(opcodes.OPEN, nodeId, words(0, 0));
    const opened = { ...file, backing: { fileId: 9, versionId: 9 }, remote: null };
    kernel.front.hear({ kind: "answer", call: asked("open").call, result: { kind: "opened", opened } });
    expect(asked("open").piecewise).toBe(true);
    kernel.front.hear({ kind: "failed", call: asked("open").call, errno: 5 });
    expect(open(nodeId, file, null).errno).toBe(0);
    expect(kernel.openFiles.size).toBe(0);
  });

  test("a folder is read page by page, on from any position, and anew from its beginning", () => {
    const { kernel, asked, answered } = begin();
    const entry = (name: string): Listed => ({ name, ...fileOf(kernel, name) });
    const { handle } = openedOf(answered(kernel.send(opcodes.OPENDIR, ROOT, words(0, 0))));
    const read = (position: number, plus: boolean): string[] => {
      const opcode = plus ? opcodes.READDIRPLUS : opcodes.READDIR;
      const unique = kernel.send(opcode, ROOT, readBody(handle, position, 4096));
      for (let pages = 0; kernel.answerTo(unique) === undefined; pages++) {
        const { call, from } = asked("list");
        const at = Number(from ?? 0);
        const next = at < 2 ? String(at + 1) : null;
        const names = at === 1 ? [] : [entry(`a${at}`), entry(`b${at}`)];
        kernel.front.hear({ kind: "answer", call, result: { kind: "listed", page: { entries: names, next } } });
        if (pages > 5) throw new Error("no end of pages");
      }
      return namesOf(answered(unique).body, plus).map(({ name, offset }) => `${name}:${offset}`);
    };
    expect(read(0, true)).toEqual([".:1", "..:2", "a0:3", "b0:4"]);
    expect(read(4, false)).toEqual(["a2:5", "b2:6"]);
    expect(read(6, true)).toEqual([]);
    expect(read(3, false)).toEqual(["b0:4"]);
    expect(read(5, false)).toEqual(["b2:6"]);
    expect(read(0, false)).toEqual([".:1", "..:2", "a0:3", "b0:4"]);
    expect(kernel.front.held.inodes).toBe(3);
  });

  test("the kernel is told of changed names a few at a time, never where it would wait", () => {
    const { kernel, lookUp } = begin();
    for (const name of ["a", "b"]) lookUp(name, fileOf(kernel, name, { freshUntilMs: Number.POSITIVE_INFINITY }));
    kernel.front.sweep();
    const expired = () => kernel.told.filter(({ kind }) => kind === "expire").length;
    expect(expired()).toBe(0);
    kernel.counters[1] = 9;
    kernel.send(opcodes.LOOKUP, ROOT, named("waits"));
    kernel.front.sweep();
    expect(expired()).toBe(0);
    const waiting = kernel.told.at(-1);
    if (waiting?.kind !== "look-up") throw new Error("nothing waits");
    kernel.front.hear({ kind: "failed", call: waiting.call, errno: 5 });
    kernel.front.sweep();
    kernel.front.sweep();
    expect(expired()).toBe(2);
  });

  test("a stop answers whoever waits", () => {
    const { kernel } = begin();
    const unique = kernel.send(opcodes.LOOKUP, ROOT, named("f"));
    expect(kernel.front.hear({ kind: "stop" })).toBe("ended");
    expect(kernel.answerTo(unique)?.errno).toBe(errnos.EIO);
  });

  test("nothing can be changed, and what is not known is said to be so", () => {
    const { kernel, answered } = begin();
    const errno = (opcode: number): number => answered(kernel.send(opcode, ROOT, Buffer.alloc(64))).errno;
    for (const opcode of [opcodes.MKDIR, opcodes.UNLINK, opcodes.SETATTR, opcodes.CREATE, opcodes.WRITE]) {
      expect(errno(opcode)).toBe(errnos.EROFS);
    }
    expect([errno(opcodes.READLINK), errno(opcodes.IOCTL), errno(opcodes.FLUSH), errno(999)]).toEqual([
      errnos.EINVAL,
      errnos.ENOTTY,
      errnos.ENOSYS,
      errnos.ENOSYS,
    ]);
  });
});
