import { describe, expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import type { OwnLake } from "../lake/types.ts";
import { createStoredPolicies } from "./stored-policies.ts";

/** A lake that knows the policies of one container and counts how often it is asked. */
function fakeLake(own = true): { lake: OwnLake; asked: string[]; expiry: string; hold: Promise<void>; fails: boolean } {
  const unused = (): never => {
    throw new Error("not asked for here");
  };
  const state = { asked: [] as string[], expiry: "2026-06-01T00:00:00Z", hold: Promise.resolve(), fails: false };
  const lake: OwnLake = {
    account: "acc",
    style: "path",
    hasOwnCredential: own,
    keys: [],
    credentialKind: own ? "key" : "none",
    read: unused,
    forward: unused,
    close: () => {},
    own: async (request) => {
      state.asked.push(request.container ?? "");
      const { expiry } = state;
      await state.hold;
      if (state.fails) throw new ForebayError("lake-unreachable", "nobody there");
      const policy = `<AccessPolicy><Start>2026-01-01T00:00:00.1Z</Start><Expiry>${expiry}</Expiry><Permission>r</Permission></AccessPolicy>`;
      const text = `<?xml version="1.0"?><SignedIdentifiers><SignedIdentifier><Id>one</Id>${policy}</SignedIdentifier></SignedIdentifiers>`;
      let body: Uint8Array | null = new TextEncoder().encode(text);
      return {
        head: { status: request.container === "none" ? 404 : 200, reason: "", headers: [] },
        body: {
          lengthBytes: body.length,
          read: async () => {
            const bytes = body;
            body = null;
            return bytes;
          },
          cancel: () => {},
        },
      };
    },
  };
  return Object.assign(state, { lake });
}

function world(own = true) {
  const clock = createSimClock();
  const fake = fakeLake(own);
  const logged: string[] = [];
  const log = (_level: string, message: string): void => void logged.push(message);
  const policies = createStoredPolicies((account) => (account === "acc" ? fake.lake : undefined), clock, log);
  /** Lets what was asked for arrive. */
  const settle = (): Promise<void> => clock.advance(0);
  return { clock, fake, logged, settle, ...policies };
}

describe("stored policies", () => {
  test("are unknown at first, then as the lake has them, rounded to the safe side", async () => {
    const { lookup, settle, fake } = world();
    fake.expiry = "2026-06-01T00:00:00.9Z";
    expect(lookup("acc", "data", "one")).toBe("unknown");
    expect(lookup("acc", "data", "one")).toBe("unknown");
    await settle();
    const found = lookup("acc", "data", "one");
    expect(found).toEqual({ start: "2026-01-01T00:00:01Z", expiry: "2026-06-01T00:00:00Z", permissions: "r" });
    expect(lookup("acc", "data", "two")).toBe("missing");
    expect(fake.asked).toEqual(["data"]);
  });

  test("of a container that is not there are missing; of an account that is not there, unknown", async () => {
    const { lookup, settle } = world();
    lookup("acc", "none", "one");
    expect(lookup("other", "data", "one")).toBe("unknown");
    await settle();
    expect(lookup("acc", "none", "one")).toBe("missing");
    expect(lookup("other", "data", "one")).toBe("unknown");
  });

  test("are renewed half-way, and not taken beyond their time", async () => {
    const { lookup, settle, clock, fake } = world();
    lookup("acc", "data", "one");
    await settle();
    await clock.advance(limits.storedPolicyTtlMs / 2 + 1);
    expect(lookup("acc", "data", "one")).not.toBe("unknown");
    await settle();
    expect(fake.asked.length).toBe(2);
    fake.fails = true;
    await clock.advance(limits.storedPolicyTtlMs - 1);
    expect(lookup("acc", "data", "one")).not.toBe("unknown");
    await clock.advance(1);
    expect(lookup("acc", "data", "one")).toBe("unknown");
  });

  test("count their age from when the lake was asked", async () => {
    const { lookup, settle, clock, fake } = world();
    const { promise, resolve } = Promise.withResolvers<void>();
    fake.hold = promise;
    lookup("acc", "data", "one");
    await clock.advance(limits.storedPolicyTtlMs);
    resolve();
    await settle();
    expect(lookup("acc", "data", "one")).toBe("unknown");
  });

  test("are forgotten when access changed, and what was asked before that does not count", async () => {
    const { lookup, settle, forget, fake } = world();
    lookup("acc", "data", "one");
    await settle();
    for (const container of ["data", null]) {
      const { promise, resolve } = Promise.withResolvers<void>();
      forget("acc", container);
      fake.hold = promise;
      expect(lookup("acc", "data", "one")).toBe("unknown");
      forget("acc", container);
      resolve();
      await settle();
      expect(lookup("acc", "data", "one")).toBe("unknown");
      await settle();
      expect(lookup("acc", "data", "one")).not.toBe("unknown");
    }
  });

  test("cannot be had: unknown, and said; without a credential the lake is not asked", async () => {
    const { lookup, settle, fake, logged } = world();
    fake.fails = true;
    lookup("acc", "data", "one");
    await settle();
    expect(lookup("acc", "data", "one")).toBe("unknown");
    expect(logged[0]).toContain("could not be read");
    const without = world(false);
    without.lookup("acc", "data", "one");
    await without.settle();
    expect(without.lookup("acc", "data", "one")).toBe("unknown");
    expect(without.fake.asked).toEqual([]);
  });
});
