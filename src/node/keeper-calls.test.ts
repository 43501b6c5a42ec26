import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { FlashKeeper } from "../flash/types.ts";
import type { Peer } from "../io/channel.ts";
import { realClock } from "../io/clock.ts";
import { answerKeeperCall, createKeeperCaller, remoteKeeper } from "./keeper-calls.ts";

/** A keeper that writes down what it is asked. */
function recorder(): { keeper: FlashKeeper; calls: unknown[] } {
  const calls: unknown[] = [];
  const note =
    <T>(method: string, answer: T) =>
    async (...args: readonly unknown[]): Promise<T> => {
      calls.push([method, ...args]);
      return answer;
    };
  const keeper: FlashKeeper = {
    acquire: note("acquire", { kind: "busy" }),
    publish: note("publish", { kind: "refused", reason: "void" }),
    abandon: note("abandon", undefined),
    claim: note("claim", null),
    filled: note("filled", undefined),
    unclaim: note("unclaim", undefined),
    awaitBlock: note("awaitBlock", "free"),
    drop: note("drop", undefined),
    markChange: note("markChange", 7),
    unmarkChange: note("unmarkChange", true),
    peek: note("peek", [1]),
    reportFailure: note("reportFailure", undefined),
  };
  return { keeper, calls };
}

/** A peer whose calls arrive at `keeper` as they would over a wire. */
function wire(keeper: FlashKeeper): Peer {
  return {
    call: async (method, args) => {
      const answer = answerKeeperCall(keeper, method, JSON.parse(JSON.stringify(args)) as unknown[]);
      if (answer === null) throw new ForebayError("internal", `unknown ${method}`);
      return answer;
    },
    closed: new Promise(() => {}),
    close: async () => {},
  };
}

test("every method crosses with its arguments in order", async () => {
  const { keeper, calls } = recorder();
  const peer = wire(keeper);
  const remote = remoteKeeper(createKeeperCaller(() => peer, realClock));
  const request = {
    ...{ holder: "s", key: "a/b/c", variantId: "full|2025-01-05", sentAtMsMin: 1, epoch: "e" },
    generation: [1, 2, 3] as const,
  };
  const variant = { id: "full|x", headers: ["A", "b"], sentAtMs: 1, generation: [1, 2, 3] as const, epoch: "e" };
  expect(await remote.acquire(request)).toEqual({ kind: "busy" });
  const publication = { lease: 1, etag: "e", sizeBytes: 2, variant };
  expect(await remote.publish(publication)).toEqual({ kind: "refused", reason: "void" });
  await remote.abandon(3);
  expect(await remote.claim("s", 4, 5, 6)).toBeNull();
  await remote.filled(4, [{ block: 5, checksum: "c" }]);
  await remote.unclaim("s", 4, [6]);
  expect(await remote.awaitBlock(4, 6)).toBe("free");
  await remote.drop("a/b/c", null, "deleted");
  const scope = { account: "a", container: "b", blob: null };
  expect(await remote.markChange(scope)).toBe(7);
  expect(await remote.unmarkChange(7, true)).toBe(true);
  expect(await remote.peek(5, 0, 2)).toEqual([1]);
  await remote.reportFailure("broken");
  expect(calls).toEqual([
    ["acquire", request],
    ["publish", publication],
    ["abandon", 3],
    ["claim", "s", 4, 5, 6],
    ["filled", 4, [{ block: 5, checksum: "c" }]],
    ["unclaim", "s", 4, [6]],
    ["awaitBlock", 4, 6],
    ["drop", "a/b/c", null, "deleted"],
    ["markChange", scope],
    ["unmarkChange", 7, true],
    ["peek", 5, 0, 2],
    ["reportFailure", "broken"],
  ]);
  expect(calls.length).toBe(Object.keys(keeper).length);
});

test("what is no method of the keeper is not called, whatever the object has", () => {
  const { keeper, calls } = recorder();
  for (const method of ["stop", "toString", "constructor", "__proto__", ""]) {
    expect(answerKeeperCall(keeper, method, [])).toBeNull();
  }
  expect(calls).toEqual([]);
});

test("without a keeper every call is rejected as closed", async () => {
  const remote = remoteKeeper(createKeeperCaller(() => null, realClock));
  const error = await remote.awaitBlock(1, 2).then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ForebayError);
  expect((error as ForebayError).code).toBe("closed");
});

test("a keeper that hangs is found out long before its calls time out; one that waits is waited for", async () => {
  const clock = createSimClock();
  const { keeper } = recorder();
  let hangs = false;
  const never = new Promise<never>(() => {});
  const peer: Peer = {
    ...wire(keeper),
    call: (method, _args, timeoutMs = limits.keeperReplyTimeoutMs) => {
      if (!hangs && method === "acquire") return clock.sleep(20_000).then(() => ({ kind: "busy" }));
      if (!hangs) return Promise.resolve(method === "peek" ? [] : null);
      return Promise.race([never, clock.sleep(timeoutMs).then(() => Promise.reject(new ForebayError("timeout", "")))]);
    },
  };
  const remote = remoteKeeper(createKeeperCaller(() => peer, clock));
  const request = { holder: "a", key: "k", variantId: "v", sentAtMsMin: 0, epoch: "e", generation: [0, 0, 0] as const };
  const codeOf = (call: Promise<unknown>): Promise<string> =>
    call.then(
      () => "answered",
      (error: unknown) => (error as ForebayError).code,
    );
  expect(await clock.settle(codeOf(remote.acquire(request)))).toBe("answered");
  hangs = true;
  const fromMs = clock.monotonicMs();
  expect(await clock.settle(codeOf(remote.acquire(request)))).toBe("timeout");
  expect(clock.monotonicMs() - fromMs).toBeLessThanOrEqual(limits.keeperPulseMs + limits.keeperPulseTimeoutMs);
  // Known to hang: who comes now does not wait at all.
  const atMs = clock.monotonicMs();
  expect(await codeOf(remote.claim("a", 1, 0, 1))).toBe("timeout");
  expect(clock.monotonicMs()).toBe(atMs);
  await clock.advance(limits.keeperPulseTimeoutMs);
  hangs = false;
  expect(await codeOf(remote.claim("a", 1, 0, 1))).toBe("timeout"); // asks whether it lives again
  await clock.advance(0);
  expect(await clock.settle(codeOf(remote.claim("a", 1, 0, 1)))).toBe("answered");
});
