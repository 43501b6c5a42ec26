/**
 * Small warm blobs read with a bearer token, which only the lake can judge, beside the same reads with SharedKey, which
 * Forebay verifies itself: 100,000 blobs of 4 KiB (`--quick`: 2,500), each read once a round, each round with a new
 * token. How often the lake is asked is counted.
 *
 * With `verdict: blob` (the default) the lake judges each blob once a minute; with `verdict: container` one yes covers a
 * container. The lake here answers at once: from a distance, each question costs its round trip as well.
 */
import { startTestForebay } from "../tests/support/forebay.ts";
import { bearerToken, sharedKey } from "../tests/support/sign.ts";
import { interleave, measureLoad, type Target } from "./lib/rounds.ts";
import { type BenchRow, benchOptions, median, publishRows, rowOf, type Side } from "./lib/rows.ts";
import { SHAPED_ACCOUNT, SHAPED_KEY, startShapedLake } from "./lib/shaped-lake.ts";

const KIB = 1024;
const BLOB_BYTES = 4 * KIB;
const CONNECTIONS = 32;
const API_VERSION = "2025-01-05";
/** No pass over the blobs takes longer. */
const PASS_SECONDS_MAX = 300;

const options = benchOptions();
const count = options.quick ? 2_500 : 100_000;
const rounds = options.quick ? 2 : 5;

type Credential = { readonly kind: "sharedKey" } | { readonly kind: "bearer"; readonly token: string };

/** Requests for every blob of a container, in no order. */
function requestsFor(container: string, credential: Credential): string[] {
  const date = new Date().toUTCString();
  return Array.from({ length: count }, (_, i) => {
    const name = `4KiB-${String((i * 7919) % count).padStart(7, "0")}`; // a prime: every blob once
    const target = `/${SHAPED_ACCOUNT}/${container}/${name}`;
    const headers: [string, string][] = [
      ["x-ms-version", API_VERSION],
      ["x-ms-date", date],
    ];
    const authorization =
      credential.kind === "bearer"
        ? `Bearer ${credential.token}`
        : sharedKey(SHAPED_ACCOUNT, SHAPED_KEY, { method: "GET", target, headers });
    const lines = [...headers, ["Authorization", authorization]].map(([name, value]) => `${name}: ${value}\r\n`);
    return `GET ${target} HTTP/1.1\r\nHost: 127.0.0.1\r\n${lines.join("")}\r\n`;
  });
}

function pass(target: Target, container: string, credential: Credential): Promise<Side> {
  const requests = requestsFor(container, credential);
  const plan = { connections: CONNECTIONS, seconds: PASS_SECONDS_MAX, once: true, requests, bodyBytes: BLOB_BYTES };
  return measureLoad(target, plan, "requests/s");
}

const lake = await startShapedLake();
const forebay = await startTestForebay({
  lake: lake.connectionString,
  policies: [
    { path: "", maxStale: "immutable" },
    { path: "byblob/", maxStale: "immutable", verdict: "blob" },
    { path: "bycontainer/", maxStale: "immutable", verdict: "container" },
  ],
  flashSize: `${Math.ceil((count * 2 * BLOB_BYTES * 4) / 2 ** 20) + 256}MiB`,
});
try {
  const target: Target = { name: "forebay", port: forebay.port, pid: forebay.pid };
  const rows: BenchRow[] = [];
  let tokens = 0;
  const newToken = (): string => bearerToken({ jti: String(++tokens) });
  const cases = [
    { id: "tokens-blob", verdict: "blob", container: "byblob", again: false },
    { id: "tokens-blob-again", verdict: "blob, again within a minute", container: "byblob", again: true },
    { id: "tokens-container", verdict: "container", container: "bycontainer", again: false },
  ];
  for (const container of ["byblob", "bycontainer"]) {
    process.stderr.write(`tokens: bringing ${count} blobs to flash\n`);
    await pass(target, container, { kind: "sharedKey" });
  }
  for (const { id, verdict, container, again } of cases) {
    process.stderr.write(`tokens: verdict ${verdict}\n`);
    const asked: number[] = [];
    const pairs = await interleave<Credential["kind"]>(rounds, "bearer", "sharedKey", async (kind) => {
      if (kind === "sharedKey") return pass(target, container, { kind });
      const token = newToken();
      if (again) await pass(target, container, { kind, token });
      await lake.reset();
      const side = await pass(target, container, { kind, token });
      asked.push((await lake.counts()).requests);
      return side;
    });
    const name = `${count} warm blobs of 4 KiB, bearer token, verdict: ${verdict}`;
    const note = `${median(asked)} requests to the lake`;
    rows.push(rowOf({ id, name, beside: "SharedKey", measure: "requests/s", goal: null, note }, pairs));
  }
  publishRows(rows, options);
} finally {
  await forebay.stop();
  await lake.stop();
}
process.exit(0);
