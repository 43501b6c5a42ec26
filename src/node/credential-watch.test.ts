import { expect, test } from "bun:test";
import { createSimClock } from "../../sim/clock.ts";
import { simAddress, simLake } from "../../sim/lake/client.ts";
import { createSimService, SIM_ACCOUNT, SIM_KEY } from "../../sim/lake/service.ts";
import { createTrust } from "../engine/trust.ts";
import { CREDENTIAL_PROBE_MS, showCredentials, watchCredentials } from "./credential-watch.ts";

const first = new Uint8Array(Buffer.from(SIM_KEY, "base64"));
const second = new Uint8Array(Buffer.from("a key that this account never had"));

function world() {
  const clock = createSimClock();
  const service = createSimService();
  const lakeWith = (keys: readonly Uint8Array[]) =>
    simLake({ service, clock }, { address: { ...simAddress(service), credential: { kind: "key", keys } } });
  const trust = createTrust(() => {}, clock);
  const watched = new Map([
    [SIM_ACCOUNT, { lake: lakeWith([first, second]), perKey: [lakeWith([first]), lakeWith([second])] }],
  ]);
  return { clock, service, trust, watched };
}

test("a further key that the lake does not take judges nobody, and the own one goes on", async () => {
  const { clock, trust, watched } = world();
  expect(trust.keys(SIM_ACCOUNT, [first, second])).toEqual([first, second]);
  await clock.settle(showCredentials(watched, trust, clock));
  expect(trust.keys(SIM_ACCOUNT, [first, second])).toEqual([first]);
  expect(trust.suspended(SIM_ACCOUNT, "any")).toBe(false);
});

test("a rotated key is noticed within the interval although nobody reads the lake", async () => {
  const { clock, service, trust, watched } = world();
  const stop = watchCredentials(() => watched, trust, clock);
  await clock.advance(1_000);
  expect(trust.suspended(SIM_ACCOUNT, "any")).toBe(false);
  service.rotateKey(0, Buffer.from("quite another key").toString("base64"));
  await clock.advance(CREDENTIAL_PROBE_MS + 10_000);
  expect(trust.suspended(SIM_ACCOUNT, "any")).toBe(true);
  expect(trust.keys(SIM_ACCOUNT, [first])).toEqual([]);
  stop();
});

test("a refusal for want of rights concerns its container, for a while", async () => {
  const { clock, trust } = world();
  trust.refused(SIM_ACCOUNT, "hidden", "AuthorizationPermissionMismatch");
  expect(trust.suspended(SIM_ACCOUNT, "hidden")).toBe(true);
  expect(trust.suspended(SIM_ACCOUNT, "open")).toBe(false);
  await clock.advance(60_000);
  expect(trust.suspended(SIM_ACCOUNT, "hidden")).toBe(false);
  trust.refused(SIM_ACCOUNT, "hidden", "AuthenticationFailed");
  expect(trust.suspended(SIM_ACCOUNT, "open")).toBe(true);
});
