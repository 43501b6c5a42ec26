import { describe, expect, test } from "bun:test";
import { passingSource } from "./pass-on.ts";
import type { BodyReader, BodySource } from "./types.ts";

/** A body whose bytes come when `bring` is called. */
function bodyOf(lengthBytes: number) {
  let held: number[] = [];
  let waiter: { resolve(there: boolean): void; reject(error: unknown): void } | null = null;
  let left = lengthBytes;
  let failure: unknown = null;
  const reader: BodyReader = {
    lengthBytes,
    read: () => Promise.reject(new Error("read in the other way")),
    takeInto: (target, from, to) => {
      if (failure !== null) throw failure;
      const taken = held.splice(0, to - from);
      target.set(taken, from);
      left -= taken.length;
      return taken.length;
    },
    ready: () =>
      new Promise((resolve, reject) => {
        if (failure !== null) reject(failure);
        else if (held.length > 0 || left === 0) resolve(left > 0);
        else waiter = { resolve, reject };
      }),
    cancel: () => {
      failure = new Error("cancelled");
      waiter?.reject(failure);
    },
  };
  const bring = (...bytes: number[]): void => {
    held = [...held, ...bytes];
    waiter?.resolve(true);
    waiter = null;
  };
  return { reader, bring };
}

async function piece(source: BodySource): Promise<number[] | null> {
  const next = await source.next();
  return next?.kind === "bytes" ? [...next.bytes] : null;
}

describe("a body passed on", () => {
  test("comes in pieces as large as what is at hand, and ends with its length", async () => {
    const { reader, bring } = bodyOf(5);
    const source = passingSource(reader);
    bring(1, 2);
    bring(3);
    expect(await piece(source)).toEqual([1, 2, 3]);
    const later = piece(source);
    bring(4, 5);
    expect(await later).toEqual([4, 5]);
    expect(await piece(source)).toBeNull();
    source.close();
  });

  test("that was let go of writes into no memory that another one has by then", async () => {
    const first = bodyOf(4);
    const one = passingSource(first.reader);
    const waiting = Promise.resolve(one.next()).then(
      () => "a piece",
      () => "an end",
    );
    first.bring(9, 9);
    one.close();
    const second = bodyOf(2);
    const two = passingSource(second.reader);
    second.bring(1, 2);
    const got = await two.next();
    await waiting;
    expect(got?.kind === "bytes" && [...got.bytes]).toEqual([1, 2]);
    two.close();
  });

  test("of unknown length is read as it comes", async () => {
    const reader: BodyReader = { lengthBytes: null, read: async () => new Uint8Array([7]), cancel: () => {} };
    expect(await piece(passingSource(reader))).toEqual([7]);
  });
});
