import { describe, expect, test } from "bun:test";
import { limits } from "../../src/base/limits.ts";
import { seededRandom } from "../../src/base/random.ts";
import { bytesSource, type ClientResponse, headerOf } from "../../src/http/types.ts";
import { probeLake } from "../../src/lake/probe.ts";
import type { LakeRead, OwnLake } from "../../src/lake/types.ts";
import { createSimClock } from "../clock.ts";
import { simLake } from "./client.ts";
import { createFaultPlan, FAULTS, type Fault } from "./faults.ts";
import { createSimService, SIM_ACCOUNT } from "./service.ts";

const READ: LakeRead = {
  key: { account: SIM_ACCOUNT, container: "data", blob: "x" },
  method: "GET",
  range: { first: 10, last: 99 },
  apiVersion: "2024-11-04",
  credential: { kind: "own" },
};

function world(seed = 1) {
  const clock = createSimClock();
  const service = createSimService();
  const content = seededRandom(9).fill(new Uint8Array(300_000));
  service.putBlob("data", "x", content);
  const faults = createFaultPlan(seededRandom(seed));
  const lake = simLake({ service, clock, faults });
  return { clock, service, faults, lake, content };
}

async function all(response: ClientResponse): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  for (let chunk = await response.body.read(); chunk !== null; chunk = await response.body.read()) chunks.push(chunk);
  return new Uint8Array(Buffer.concat(chunks));
}

function put(lake: OwnLake, blob: string, text: string): Promise<ClientResponse> {
  const body = bytesSource(new TextEncoder().encode(text));
  return lake.own({ method: "PUT", container: "data", blob, headers: ["x-ms-blob-type", "BlockBlob"], body });
}

/** What a read looks like under each fault. */
async function describeRead(fault: Fault): Promise<string> {
  const { clock, faults, lake, content } = world();
  faults.force(fault);
  const told = await clock.settle(
    lake.read(READ).then(
      async (response) => {
        const { status, headers } = response.head;
        const retry = headerOf(headers, "retry-after") ?? headerOf(headers, "x-ms-retry-after-ms") ?? "";
        if (status >= 300) return `${status} ${headerOf(headers, "x-ms-error-code")} ${retry}`.trim();
        const range = headerOf(headers, "content-range");
        const body = await all(response).catch((error) => error.code as string);
        if (typeof body === "string") return `${status} then ${body}`;
        const right = Buffer.compare(body, content.subarray(10, 100)) === 0;
        return `${status} ${range} ${body.length} bytes ${right ? "right" : "wrong"}`;
      },
      (error) => error.code as string,
    ),
  );
  expect(faults.count(fault)).toBe(1);
  return told;
}

const READS: Partial<Record<Fault, string>> = {
  serverError: "500 InternalError",
  serverBusy: "503 ServerBusy",
  serverBusyRetryAfter: "503 ServerBusy 1",
  tooManyRequests: "429 TooManyRequests",
  tooManyRequestsRetryAfterMs: "429 TooManyRequests 250",
  neverAnswers: "timeout",
  resetBefore: "lake-lost",
  resetInBody: "206 then lake-lost",
  shortBody: "206 then lake-lost",
  longBody: "206 bytes 10-99/300000 97 bytes wrong",
  wrongContentRange: "206 bytes 11-100/300001 90 bytes right",
  otherEtag: "206 bytes 10-99/300000 90 bytes right",
  wrongMd5: "206 bytes 10-99/300000 90 bytes right",
};

describe("a read under each fault", () => {
  for (const fault of FAULTS) {
    const told = READS[fault];
    if (told !== undefined) test(fault, async () => expect(await describeRead(fault)).toBe(told));
  }

  test("another ETag is another one each time", async () => {
    const { faults, lake, service } = world();
    faults.set("otherEtag", 1);
    const tags = [await lake.read(READ), await lake.read(READ)].map((response) =>
      headerOf(response.head.headers, "etag"),
    );
    expect(new Set(tags).size).toBe(2);
    expect(service.stats.sent(`${SIM_ACCOUNT}/data/x`).reads).toBe(2);
  });
});

describe("a write under each fault", () => {
  test("a lost acknowledgement: the change is there", async () => {
    const { faults, lake, service } = world();
    faults.force("lostAck");
    await expect(put(lake, "y", "written")).rejects.toMatchObject({ code: "lake-lost" });
    expect(Buffer.from(service.peek("data", "y") ?? []).toString()).toBe("written");
  });

  test("a duplicate: the first answer names a version that is gone", async () => {
    const { faults, lake } = world();
    faults.force("duplicate");
    const etag = headerOf((await put(lake, "y", "twice")).head.headers, "etag");
    const key = { ...READ.key, blob: "y" };
    const now = await lake.read({ ...READ, key, method: "HEAD", range: undefined });
    expect(headerOf(now.head.headers, "etag")).not.toBe(etag);
  });

  test("a reset before: nothing is changed", async () => {
    const { faults, lake, service } = world();
    faults.force("resetBefore");
    await expect(put(lake, "y", "lost")).rejects.toMatchObject({ code: "lake-lost" });
    expect(service.peek("data", "y")).toBeNull();
  });
});

test("time: the first byte, the rate, the time-out, and giving up", async () => {
  const { clock, faults, lake } = world();
  const startMs = clock.monotonicMs();
  faults.shape({ firstByteMs: [25, 25], bytesPerSecond: 1_000_000 });
  const whole = await clock.settle(lake.read({ ...READ, range: undefined }).then(all));
  expect(whole.length).toBe(300_000);
  expect(clock.monotonicMs() - startMs).toBeCloseTo(325, 3);
  faults.force("neverAnswers", 2);
  const late = lake.read(READ).catch((error) => error.code as string);
  expect(await clock.settle(late)).toBe("timeout");
  expect(clock.monotonicMs() - startMs).toBeCloseTo(325 + limits.lakeFirstByteTimeoutMs, 3);
  const abort = new AbortController();
  const given = lake.read({ ...READ, signal: abort.signal }).catch((error) => error.code as string);
  await clock.advance(10);
  abort.abort();
  expect(await given).toBe("cancelled");
  expect(clock.pending).toBe(0);
});

test("a history repeats with its seed, and calm ends it", async () => {
  const play = async (seed: number): Promise<string> => {
    const { clock, faults, lake } = world(seed);
    for (const fault of FAULTS) faults.set(fault, 0.1);
    const told: string[] = [];
    for (let i = 0; i < 60; i++) {
      const outcome = lake.read(READ).then(
        async (response) => `${response.head.status} ${(await all(response).catch(() => [])).length}`,
        (error) => error.code as string,
      );
      told.push(await clock.settle(outcome));
    }
    faults.calm();
    for (let i = 0; i < 20; i++) expect((await lake.read(READ)).head.status).toBe(206);
    return told.join();
  };
  const first = await play(3);
  expect(await play(3)).toBe(first);
  expect(await play(4)).not.toBe(first);
});

test("a lake that cannot be reached", async () => {
  const lake = simLake({ service: createSimService(), clock: createSimClock(), reachable: () => false });
  await expect(lake.read(READ)).rejects.toMatchObject({ code: "lake-unreachable" });
  const found = await probeLake(lake, createSimClock());
  expect(found).toMatchObject({
    reachable: false,
    credentialOk: null,
    error: expect.stringContaining("no connection"),
  });
});

test("a probe does not wait for ever, and a busy lake says nothing of the credential", async () => {
  const { clock, faults, lake } = world();
  faults.force("neverAnswers");
  const silent = await clock.settle(probeLake(lake, clock));
  expect(silent).toMatchObject({ reachable: false, latencyMs: limits.lakeProbeTimeoutMs });
  expect(silent.error).toContain("did not answer in time");
  faults.force("serverBusy");
  const busy = await probeLake(lake, clock);
  expect(busy).toMatchObject({ reachable: true, credentialOk: null, status: 503 });
  expect(busy.error).toBe("the lake answered 503 ServerBusy");
});
