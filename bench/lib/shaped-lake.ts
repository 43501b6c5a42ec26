/**
 * The shaped lake as a process of its own: `bun bench/lib/shaped-lake.ts '{"firstByteMs":25,…}'` prints its port and
 * serves until it is ended. {@link startShapedLake} does that for a benchmark.
 *
 * A tool for measurements: it takes any signature, holds blobs whose length stands in their name, and computes their
 * bytes. See `shaped-content.ts`.
 */
import { join } from "node:path";
import { END_WITH_PARENT, startChild } from "../../tests/support/process.ts";
import { type LakeCounts, type LakeShape, startShapedServer } from "./shaped-server.ts";

/** The account that every shaped lake plays. Any key would do. */
export const SHAPED_ACCOUNT = "shaped";
export const SHAPED_KEY = Buffer.alloc(64, 7).toString("base64");

/** How the lake is started. */
export interface ShapedLakeOptions extends Partial<LakeShape> {
  /** List Blobs gives so many names (1,000 unless given), each of `listSize` (`100KB`). */
  readonly listNames?: number;
  readonly listSize?: string;
}

/** A shaped lake that runs. */
export interface ShapedLake {
  readonly port: number;
  readonly pid: number;
  /** `http://127.0.0.1:PORT/ACCOUNT`. */
  readonly url: string;
  readonly connectionString: string;
  /** What it was asked since it started, or since the last reset. */
  counts(): Promise<LakeCounts>;
  reset(): Promise<void>;
  /** Changes how it behaves from the next request on. */
  reshape(shape: Partial<LakeShape>): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a shaped lake in a process of its own, which ends with this one. */
export async function startShapedLake(options: ShapedLakeOptions = {}): Promise<ShapedLake> {
  const program = join(import.meta.dir, "shaped-lake.ts");
  const command = [process.execPath, "--preload", END_WITH_PARENT, program, JSON.stringify(options)];
  const child = startChild({ name: "shaped lake", command, watchesParent: true });
  const port = Number((await child.line(/^(\d+)$/, 10_000))[1]);
  const base = `http://127.0.0.1:${port}`;
  const url = `${base}/${SHAPED_ACCOUNT}`;
  const own = async (path: string, method: string, body?: string): Promise<Response> => {
    const response = await fetch(base + path, { method, ...(body === undefined ? {} : { body }), keepalive: false });
    if (!response.ok) throw new Error(`the shaped lake answered ${response.status} to ${method} ${path}`);
    return response;
  };
  return {
    port,
    pid: child.pid,
    url,
    connectionString: `DefaultEndpointsProtocol=http;AccountName=${SHAPED_ACCOUNT};AccountKey=${SHAPED_KEY};BlobEndpoint=${url}`,
    counts: async () => (await own("/__stats", "GET")).json() as Promise<LakeCounts>,
    reset: async () => {
      await (await own("/__stats", "DELETE")).text();
    },
    reshape: async (shape) => {
      await (await own("/__shape", "PUT", JSON.stringify(shape))).text();
    },
    stop: async () => {
      await child.stop(1_000);
    },
  };
}

if (import.meta.main) {
  const { listNames = 1_000, listSize = "100KB", ...shape }: ShapedLakeOptions = JSON.parse(process.argv[2] ?? "{}");
  const server = startShapedServer(shape, { listNames, listSize });
  process.stdout.write(`${server.port}\n`);
}
