/**
 * What is wrong is answered exactly: malformed bytes by Forebay itself, requests that the service refuses as the lake
 * refuses them, wrong settings and flags by one line and exit status 2. None of it brings the process down.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ConformanceCase } from "../conformance/harness/case.ts";
import { someBytes, startPass } from "../conformance/harness/context.ts";
import type { Endpoint } from "../conformance/harness/endpoint.ts";
import { type CaseResult, expectForebay, runCase } from "../conformance/harness/runner.ts";
import { skipReason, World } from "../conformance/harness/world.ts";
import { MAIN_ACCOUNT } from "../support/azurite.ts";
import { forebayCommand } from "../support/forebay.ts";
import { runChild } from "../support/process.ts";
import { headerValue, RawConnection, type RawResponse, rawRequest } from "../support/raw-http.ts";
import { serviceSas } from "../support/sign.ts";
import { type TempFolder, tempFolder } from "../support/temp.ts";
import { type ConfigRow, configRows } from "./config-cases.ts";
import { chunkRows, httpRows } from "./http-cases.ts";
import { lakeRows } from "./lake-cases.ts";

const missing = skipReason !== undefined;
if (missing) console.warn(`bad input is not tested: ${skipReason}`);

const world = new World();
const CONTAINER = "bad-input";
let lake: Endpoint;
let front: Endpoint;
const TIMEOUT_MS = 60_000;

beforeAll(async () => {
  if (missing) return;
  lake = await world.lake();
  front = await world.front("bad input", { policies: [{ path: "", maxStale: "10m" }] });
  const { context } = startPass({ endpoint: lake, lake, container: CONTAINER });
  await context.lake.blobs.create();
  await context.lake.blobs.getBlockBlobClient("b").upload(Buffer.from(someBytes(100)), 100);
}, TIMEOUT_MS);

afterAll(() => world.stop());

function sasTarget(parameters: Readonly<Record<string, string>> = {}): string {
  const all = { sv: "2022-11-02", sr: "c", sp: "rw", se: "2099-01-01T00:00:00Z", ...parameters };
  return `/${MAIN_ACCOUNT.name}/${CONTAINER}/b?${serviceSas(MAIN_ACCOUNT.name, MAIN_ACCOUNT.key, CONTAINER, all)}`;
}

function filledIn(text: string): string {
  return text
    .replaceAll("TARGET", sasTarget())
    .replaceAll("HOST", `${front.host}:${front.port}`)
    .replaceAll("ACCOUNT", MAIN_ACCOUNT.name);
}

/** An error as the service gives it. */
interface ExactAnswer {
  readonly status: number;
  readonly code: string;
  /** A part of the message. */
  readonly message: string;
}

function expectAnswer(response: RawResponse, answer: ExactAnswer): void {
  const text = Buffer.from(response.body).toString("utf8");
  expect({ status: response.status, code: headerValue(response, "x-ms-error-code") }).toEqual({
    status: answer.status,
    code: answer.code,
  });
  expect(text).toContain(`<Code>${answer.code}</Code>`);
  expect(text).toContain(answer.message);
}

describe.skipIf(missing)("bytes that are no request", () => {
  for (const row of httpRows) {
    test(
      row.name,
      async () => {
        const connection = await RawConnection.open({ host: front.host, port: front.port });
        connection.send(filledIn(row.bytes));
        const response = await connection.response("GET");
        expect({ status: response.status, message: Buffer.from(response.body).toString("latin1").trim() }).toEqual(
          row.answer,
        );
        expect((await connection.untilClosed()).length).toBe(0);
        connection.close();
      },
      TIMEOUT_MS,
    );
  }

  for (const [name, body, status = 400] of chunkRows) {
    test(
      `chunks: ${name}`,
      async () => {
        const connection = await RawConnection.open({ host: front.host, port: front.port });
        const head = `PUT TARGET HTTP/1.1\r\nHost: HOST\r\nx-ms-blob-type: BlockBlob\r\nTransfer-Encoding: chunked\r\n\r\n`;
        connection.send(filledIn(head) + body);
        const code = status === 413 ? "RequestBodyTooLarge" : "InvalidInput";
        expectAnswer(await connection.response("PUT"), { status, code, message: "" });
        await connection.untilClosed();
        connection.close();
      },
      TIMEOUT_MS,
    );
  }

  test("a connection that ends within a head, and one that says nothing", async () => {
    for (const bytes of ["", "GE", "GET / HTTP/1.1\r\nHost: x\r\n"]) {
      const connection = await RawConnection.open({ host: front.host, port: front.port });
      connection.send(bytes);
      connection.finish();
      expect((await connection.untilClosed()).length).toBe(0);
      connection.close();
    }
  });

  test("good requests are served as before", async () => {
    const headers = [["Host", `${front.host}:${front.port}`]] as const;
    const response = await rawRequest(front, { method: "GET", target: sasTarget(), headers });
    expect([response.status, response.body.length]).toEqual([200, 100]);
  });
});

/** Answers that only Forebay can give: it alone knows its accounts and its clients. */
const OWN: readonly (readonly [name: string, target: () => string, answer: ExactAnswer])[] = [
  [
    "an account that is not configured",
    () => "/unknownaccount/container/blob",
    { status: 400, code: "InvalidUri", message: "it names no configured account" },
  ],
  ["no account", () => "/", { status: 400, code: "InvalidUri", message: "it names no configured account" }],
  [
    "a SAS for another address",
    () => sasTarget({ sip: "192.0.2.1" }),
    { status: 403, code: "AuthorizationSourceIPMismatch", message: "using this source IP" },
  ],
  [
    "a SAS for a range of other addresses",
    () => sasTarget({ sip: "192.0.2.1-192.0.2.9" }),
    { status: 403, code: "AuthorizationSourceIPMismatch", message: "using this source IP" },
  ],
  [
    "a SAS for https",
    () => sasTarget({ spr: "https" }),
    { status: 403, code: "AuthorizationProtocolMismatch", message: "using this protocol" },
  ],
];

describe.skipIf(missing)("what only Forebay can refuse", () => {
  for (const [name, target, answer] of OWN) {
    test(`${name}, cold and warm`, async () => {
      const headers = [["Host", `${front.host}:${front.port}`]] as const;
      for (let i = 0; i < 2; i++) {
        expectAnswer(await rawRequest(front, { method: "GET", target: target(), headers }), answer);
        await rawRequest(front, { method: "GET", target: sasTarget(), headers });
      }
    });
  }
});

const asCase: ConformanceCase = {
  name: "bad input",
  setup: async (c) => void (await c.lake.blobs.getBlockBlobClient("b").upload(Buffer.from(someBytes(5000)), 5000)),
  run: async (c) => {
    for (const row of lakeRows) {
      await c.raw({ ...row.request(c), label: row.name });
      await c.raw({ path: `/${c.container}/b`, label: `${row.name}: the blob afterwards` });
    }
  },
};

describe.skipIf(missing)("requests that the service refuses", () => {
  const results = new Map<string, Promise<CaseResult>>();
  const resultAt = (endpoint: Endpoint): Promise<CaseResult> => {
    const known = results.get(endpoint.kind) ?? runCase(asCase, { endpoint, lake, seeChanges: "strict" });
    results.set(endpoint.kind, known);
    return known;
  };
  for (const row of lakeRows) {
    test(
      row.name,
      async () => {
        const [direct, through] = [await resultAt(lake), await resultAt(front)];
        const only = (result: CaseResult): CaseResult => {
          const pick = <T extends { readonly label: string }>(all: readonly T[]): readonly T[] =>
            all.filter(({ label }) => label.startsWith(row.name));
          return {
            cold: { seen: pick(result.cold.seen), notes: {} },
            warm: { seen: pick(result.warm.seen), notes: {} },
            coldExchanges: pick(result.coldExchanges),
            warmExchanges: pick(result.warmExchanges),
          };
        };
        expectForebay(asCase, only(direct), only(through), false);
      },
      TIMEOUT_MS,
    );
  }
});

describe.skipIf(missing)("settings and flags", () => {
  const folder: TempFolder = tempFolder("settings");
  afterAll(() => folder.remove());
  const run = async (row: ConfigRow, index: number): Promise<readonly [number, string, string]> => {
    const own = join(folder.path, String(index));
    mkdirSync(own);
    for (const [name, text] of Object.entries(row.files ?? {})) writeFileSync(join(own, name), text);
    const args = row.args.map((arg) => arg.replace("FOLDER", own));
    const spec = { name: row.name, command: forebayCommand(args), cwd: own, env: row.env ?? {} };
    const { status, stdout, stderr } = await runChild(spec, TIMEOUT_MS);
    return [status, stdout, stderr.replaceAll(own, "FOLDER")];
  };
  for (const [index, row] of configRows.entries()) {
    test.concurrent(
      row.name,
      async () => {
        expect(await run(row, index)).toEqual([2, "", `forebay: ${row.says}\n`]);
      },
      TIMEOUT_MS,
    );
  }
});
