/** HTTP itself: framing, connections, expectations. */

import { RawConnection } from "../../support/raw-http.ts";
import type { CaseGroup } from "../harness/case.ts";
import { type CaseContext, type CaseRequest, someBytes } from "../harness/context.ts";
import { targetOf } from "../harness/endpoint.ts";

const MIB = 1024 * 1024;
const BLOCK = { "x-ms-blob-type": "BlockBlob" };

async function setup(c: CaseContext): Promise<void> {
  await c.lake.blobs.getBlockBlobClient("b").upload(Buffer.from(someBytes(300_000)), 300_000);
  await c.lake.blobs.getBlockBlobClient("small").upload("small text", 10);
}

async function withConnection(c: CaseContext, work: (connection: RawConnection) => Promise<void>): Promise<void> {
  const connection = await RawConnection.open(targetOf(c.endpoint));
  try {
    await work(connection);
  } finally {
    connection.close();
  }
}

/** All cases about HTTP. */
export const http: CaseGroup = {
  name: "HTTP",
  cases: [
    {
      name: "many requests on one connection",
      readOnly: true,
      setup,
      run: (c) =>
        withConnection(c, async (connection) => {
          const requests: CaseRequest[] = [
            { path: `/${c.container}/b` },
            { method: "HEAD", path: `/${c.container}/b` },
            { path: `/${c.container}/b`, headers: { "x-ms-range": "bytes=100000-200000" } },
            { path: `/${c.container}/absent` },
            { method: "HEAD", path: `/${c.container}/absent` },
            { path: `/${c.container}`, query: "restype=container&comp=list" },
            { path: `/${c.container}/b`, headers: { "If-None-Match": "*" } },
            { path: `/${c.container}/small` },
            { path: `/${c.container}/b`, auth: "wrong-key" },
            { path: `/${c.container}/small` },
          ];
          for (const [i, request] of requests.entries()) {
            connection.send(c.bytes(request));
            c.saw(`${i}`, await connection.response(request.method ?? "GET"));
          }
        }),
    },
    {
      name: "pipelined reads come back in order",
      readOnly: true,
      setup,
      run: (c) =>
        withConnection(c, async (connection) => {
          const ranges = Array.from({ length: 10 }, (_, i) => `bytes=${i * 1000}-${i * 1000 + 499}`);
          const all = ranges.map((range) => c.bytes({ path: `/${c.container}/b`, headers: { "x-ms-range": range } }));
          connection.send(Buffer.concat([...all, c.bytes({ path: `/${c.container}/absent` })]));
          for (const range of ranges) c.saw(range, await connection.response("GET"));
          c.saw("absent", await connection.response("GET"));
        }),
    },
    {
      name: "pipelined writes and reads",
      setup,
      run: (c) =>
        withConnection(c, async (connection) => {
          const put = (body: string) => c.bytes({ method: "PUT", path: `/${c.container}/p`, headers: BLOCK, body });
          // The lake need not keep the order of effects of pipelined requests: each waits for the one before.
          for (const body of ["first", "second"]) {
            connection.send(put(body));
            c.saw(`PUT ${body}`, await connection.response("PUT"));
            connection.send(
              Buffer.concat([c.bytes({ path: `/${c.container}/p` }), c.bytes({ path: `/${c.container}/b` })]),
            );
            c.saw(`GET ${body}`, await connection.response("GET"));
            c.saw("GET b", await connection.response("GET"));
          }
        }),
    },
    {
      name: "a request in single bytes",
      readOnly: true,
      setup,
      run: (c) =>
        withConnection(c, async (connection) => {
          for (const byte of c.bytes({ path: `/${c.container}/small` })) connection.send(Uint8Array.of(byte));
          c.saw("GET", await connection.response("GET"));
        }),
    },
    {
      name: "Connection: close",
      readOnly: true,
      setup,
      run: (c) =>
        withConnection(c, async (connection) => {
          connection.send(c.bytes({ path: `/${c.container}/b`, headers: { Connection: "close" } }));
          c.saw("GET", await connection.response("GET"));
          c.note("left over", (await connection.untilClosed()).length);
        }),
    },
    {
      name: "HTTP/1.0",
      readOnly: true,
      setup,
      run: async (c) => {
        for (const method of ["GET", "HEAD"]) {
          await withConnection(c, async (connection) => {
            connection.send(c.bytes({ method, path: `/${c.container}/b`, httpVersion: "1.0" }));
            c.saw(method, await connection.response(method));
            c.note(`${method} left over`, (await connection.untilClosed()).length);
          });
        }
      },
    },
    {
      name: "Expect: 100-continue, waited for",
      run: (c) =>
        withConnection(c, async (connection) => {
          const body = someBytes(100_000, 3);
          const request = {
            method: "PUT",
            path: `/${c.container}/e`,
            headers: { ...BLOCK, Expect: "100-continue" },
            body,
          };
          const bytes = c.bytes(request);
          connection.send(bytes.subarray(0, bytes.length - body.length));
          c.note("asked for the body", await connection.interim());
          connection.send(body);
          c.saw("PUT", await connection.response("PUT"));
          connection.send(c.bytes({ path: `/${c.container}/e` }));
          c.saw("GET", await connection.response("GET"));
        }),
    },
    {
      name: "Expect: 100-continue, not waited for",
      run: async (c) => {
        const headers = { ...BLOCK, Expect: "100-continue" };
        await withConnection(c, async (connection) => {
          connection.send(c.bytes({ method: "PUT", path: `/${c.container}/e`, headers, body: someBytes(3000) }));
          // A server that has the body already need not say 100.
          c.saw("PUT", { ...(await connection.response("PUT")), interim: [] });
        });
      },
    },
    {
      name: "uploads in chunks",
      run: async (c) => {
        for (const [length, chunkBytes] of [
          [0, 10],
          [1, 1],
          [1000, 7],
          [3 * MIB + 1, 65_536],
        ] as const) {
          const path = `/${c.container}/c${length}`;
          const body = someBytes(length, 8);
          await c.raw({ method: "PUT", path, headers: BLOCK, body, chunkBytes, label: `PUT ${length}` });
          await c.raw({ path, label: `GET ${length}` });
        }
      },
    },
    {
      name: "chunk extensions and trailers",
      run: (c) =>
        withConnection(c, async (connection) => {
          const headers = { ...BLOCK, "Transfer-Encoding": "chunked" };
          connection.send(c.bytes({ method: "PUT", path: `/${c.container}/t`, headers }));
          connection.send("5;name=value\r\nhello\r\n6\r\n world\r\n0\r\nX-Trailer: yes\r\n\r\n");
          c.saw("PUT", await connection.response("PUT"));
          connection.send(c.bytes({ path: `/${c.container}/t` }));
          c.saw("GET", await connection.response("GET"));
        }),
    },
    {
      name: "an upload that breaks off changes nothing",
      setup,
      run: async (c) => {
        await withConnection(c, async (connection) => {
          const bytes = c.bytes({
            method: "PUT",
            path: `/${c.container}/small`,
            headers: BLOCK,
            body: someBytes(50_000),
          });
          connection.send(bytes.subarray(0, bytes.length - 20_000));
          await new Promise((done) => setTimeout(done, 50));
        });
        await c.raw({ path: `/${c.container}/small` });
      },
    },
    {
      name: "header fields: long, many, upper and lower case, repeated",
      readOnly: true,
      setup,
      run: async (c) => {
        const path = `/${c.container}/small`;
        await c.raw({ path, headers: { "X-Long": "x".repeat(8000) }, label: "long" });
        const many = Object.fromEntries(Array.from({ length: 80 }, (_, i) => [`X-Many-${i}`, `${i}`]));
        await c.raw({ path, headers: many, label: "many" });
        await c.raw({ path, headers: { "x-MS-range": "bytes=1-3" }, label: "case" });
        await c.raw({ path, headers: { "X-MS-CLIENT-REQUEST-ID": "Some-Id" }, label: "case of an id" });
      },
    },
    {
      name: "large metadata",
      run: async (c) => {
        const value = "v".repeat(1900);
        const metadata = Object.fromEntries(["a", "b", "c", "d"].map((name) => [`x-ms-meta-${name}`, value]));
        await c.raw({
          method: "PUT",
          path: `/${c.container}/m`,
          headers: { ...BLOCK, ...metadata },
          body: "x",
          label: "PUT",
        });
        await c.raw({ path: `/${c.container}/m`, label: "GET" });
        await c.raw({ path: `/${c.container}/m`, label: "GET again" });
      },
    },
    {
      name: "methods that blobs do not have",
      readOnly: true,
      setup,
      run: async (c) => {
        for (const method of ["POST", "PATCH", "OPTIONS", "TRACE", "PROPFIND"]) {
          await c.raw({ method, path: `/${c.container}/small`, label: method });
        }
      },
    },
    {
      name: "absolute-form target",
      readOnly: true,
      setup,
      run: (c) =>
        withConnection(c, async (connection) => {
          const text = Buffer.from(c.bytes({ path: `/${c.container}/small` })).toString("latin1");
          const host = /Host: (\S+)/.exec(text)?.[1] ?? "";
          connection.send(text.replace("GET /", `GET http://${host}/`));
          c.saw("GET", await connection.response("GET"));
        }),
    },
  ],
};
