/**
 * The simulated service behind a socket, for tests of whole processes and of real SDKs. Node's server is used because
 * it keeps targets and header names as they came, and lets an answer be cut anywhere.
 */

import { once } from "node:events";
import { createServer as createHttp, type IncomingMessage, type ServerResponse } from "node:http";
import { createServer as createHttps } from "node:https";
import type { AddressInfo } from "node:net";
import { type Clock, realClock } from "../../src/io/clock.ts";
import type { Delivery, FaultPlan } from "./faults.ts";
import type { SimRequest } from "./model.ts";
import { SIM_ACCOUNT, SIM_KEY, type SimService } from "./service.ts";

export interface SimServerOptions {
  /** 0, the default, takes a free one. */
  readonly port?: number;
  /** PEM texts. */
  readonly tls?: { readonly cert: string; readonly key: string };
  readonly faults?: FaultPlan;
  readonly clock?: Clock;
}

export interface SimServer {
  readonly port: number;
  /** `http://127.0.0.1:PORT/ACCOUNT`, or without the account in account style. */
  readonly url: string;
  readonly connectionString: string;
  /** Cuts what is open and stops. */
  close(): Promise<void>;
}

const CHUNK_BYTES = 64 * 1024;

/** Listens on 127.0.0.1. */
export async function startSimLakeServer(service: SimService, options: SimServerOptions = {}): Promise<SimServer> {
  const { tls, faults, clock = realClock } = options;
  const listener = (request: IncomingMessage, response: ServerResponse): void => {
    serve(service, faults, clock, tls !== undefined, request, response).catch(() => response.destroy());
  };
  const server = tls === undefined ? createHttp(listener) : createHttps({ cert: tls.cert, key: tls.key }, listener);
  server.listen(options.port ?? 0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const protocol = tls === undefined ? "http" : "https";
  const url = `${protocol}://127.0.0.1:${port}${service.style === "path" ? `/${SIM_ACCOUNT}` : ""}`;
  return {
    port,
    url,
    connectionString: `DefaultEndpointsProtocol=${protocol};AccountName=${SIM_ACCOUNT};AccountKey=${SIM_KEY};BlobEndpoint=${url}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function serve(
  service: SimService,
  faults: FaultPlan | undefined,
  clock: Clock,
  secure: boolean,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
): Promise<void> {
  const request = await receive(incoming);
  const context = { nowMs: clock.wallMs(), remoteAddress: incoming.socket.remoteAddress ?? "", secure };
  const delivery = faults?.deliver(request, context, service.handle) ?? plain(service.handle(request, context));
  const { answer } = delivery;
  if (answer === "silence") return;
  if (delivery.firstByteMs > 0) await clock.sleep(delivery.firstByteMs);
  if (answer === "reset") {
    incoming.socket.destroy();
    return;
  }
  const length = answer.body === null ? implied(answer.status, request, answer.headers) : delivery.announcedBytes;
  const headers = length === null ? answer.headers : [...answer.headers, "Content-Length", String(length)];
  outgoing.sendDate = false;
  outgoing.writeHead(answer.status, [...headers]);
  await send(delivery, clock, outgoing, length ?? 0);
}

/** The length of an answer without a body, where one must be said. */
function implied(status: number, request: SimRequest, headers: readonly string[]): number | null {
  if (status === 204 || status === 304 || headers.includes("Content-Length")) return null;
  return request.method === "HEAD" ? null : 0;
}

function plain(answer: ReturnType<SimService["handle"]>): Delivery {
  return { firstByteMs: 0, bytesPerSecond: null, answer, announcedBytes: answer.body?.sizeBytes ?? null, fault: null };
}

async function receive(incoming: IncomingMessage): Promise<SimRequest> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return {
    method: incoming.method ?? "GET",
    target: incoming.url ?? "/",
    headers: incoming.rawHeaders,
    body: new Uint8Array(Buffer.concat(chunks)),
  };
}

async function send(delivery: Delivery, clock: Clock, outgoing: ServerResponse, announced: number): Promise<void> {
  const body = typeof delivery.answer === "string" ? null : delivery.answer.body;
  const size = body?.sizeBytes ?? 0;
  for (let at = 0; body !== null && at < size && !outgoing.destroyed; ) {
    const length = Math.min(CHUNK_BYTES, size - at);
    if (delivery.bytesPerSecond !== null) await clock.sleep((length * 1000) / delivery.bytesPerSecond);
    const more = outgoing.write(body.read(at, length));
    at += length;
    if (!more) await drained(outgoing);
  }
  if (size >= announced) outgoing.end();
  // Let what was written leave, then break the connection short of what was announced.
  else outgoing.write("", () => outgoing.socket?.destroySoon());
}

/** Resolves when more can be written, or never will be. */
async function drained(outgoing: ServerResponse): Promise<void> {
  const done = new AbortController();
  const { signal } = done;
  try {
    await Promise.race([once(outgoing, "drain", { signal }), once(outgoing, "close", { signal })]);
  } finally {
    done.abort();
  }
}
