import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { failureOf } from "../../sim/failure.ts";
import { limits, MIB } from "../base/limits.ts";
import type { BodyReader } from "../http/types.ts";
import { holdBody } from "./batch-body.ts";

function arriving(pieces: number, pieceBytes: number, lengthBytes: number | null = null) {
  let left = pieces;
  let reads = 0;
  const body: BodyReader = {
    lengthBytes,
    read: () => {
      reads++;
      if (left === 0) return Promise.resolve(null);
      left--;
      return Promise.resolve(new Uint8Array(pieceBytes));
    },
    cancel: () => {},
  };
  const head = { method: "POST", target: "/acct?comp=batch", minorVersion: 1, headers: [] };
  return { exchange: { head, body }, reads: () => reads };
}

test("a body is held until it is let go of", async () => {
  const held = { now: 0 };
  const one = await holdBody(arriving(3, MIB).exchange, createSimClock(), held);
  expect([one.bytes.length, held.now]).toEqual([3 * MIB, 3 * MIB]);
  one.release();
  one.release();
  expect(held.now).toBe(0);
});

test("one that says that it is too large is not read", async () => {
  const held = { now: 0 };
  const large = arriving(1, 1, limits.batchBodyBytesMax + 1);
  expect(await failureOf(holdBody(large.exchange, createSimClock(), held))).toMatchObject({ code: "http-too-large" });
  expect(large.reads()).toBe(0);
  const unannounced = arriving(6, MIB);
  expect(await failureOf(holdBody(unannounced.exchange, createSimClock(), held))).toMatchObject({
    code: "http-too-large",
  });
  expect(held.now).toBe(0);
});

test("all of them together are bounded", async () => {
  const held = { now: 0 };
  const clock = createSimClock();
  const bodies = [];
  for (let i = 0; i < 16; i++) bodies.push(await holdBody(arriving(4, MIB).exchange, clock, held));
  expect(held.now).toBe(limits.batchHeldBytesMax);
  expect(await failureOf(holdBody(arriving(1, 1).exchange, clock, held))).toMatchObject({ code: "overloaded" });
  bodies[0]?.release();
  await holdBody(arriving(4, MIB).exchange, clock, held);
  expect(held.now).toBe(limits.batchHeldBytesMax);
});

test("one that does not come in time is given up", async () => {
  const held = { now: 0 };
  const clock = createSimClock();
  const { exchange } = arriving(1, 1);
  const slow = { ...exchange, body: { ...exchange.body, read: () => new Promise<null>(() => {}) } };
  const outcome = holdBody(slow, clock, held).catch((error: unknown) => error);
  await clock.advance(limits.batchReadTimeoutMs + 1);
  expect(await outcome).toMatchObject({ code: "timeout" });
  expect(held.now).toBe(0);
});
