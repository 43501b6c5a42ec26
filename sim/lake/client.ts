/** The simulated service behind the product's own client interface: no sockets, simulated time, the same rejections. */
import { readSync } from "node:fs";
import { ForebayError } from "../../src/base/errors.ts";
import { limits } from "../../src/base/limits.ts";
import type { BodyReader, BodySource, ClientRequest, ClientResponse, HttpClient } from "../../src/http/types.ts";
import type { Clock } from "../../src/io/clock.ts";
import { type LakeAddress, parseLakeAddress } from "../../src/lake/address.ts";
import { createAzureLake } from "../../src/lake/azure.ts";
import type { TokenSource } from "../../src/lake/entra.ts";
import type { OwnLake } from "../../src/lake/types.ts";
import type { Delivery, FaultPlan } from "./faults.ts";
import type { SimContext, SimRequest, SimResponse } from "./model.ts";
import { SIM_ACCOUNT, SIM_KEY, type SimService } from "./service.ts";

/** The way to a simulated service. */
export interface SimLink {
  readonly service: SimService;
  readonly clock: Clock;
  readonly faults?: FaultPlan | undefined;
  readonly hostHeader?: string | undefined;
  readonly remoteAddress?: string | undefined;
  /** Whether requests come over https; true unless said. */
  readonly secure?: boolean | undefined;
  /** Asked before each request: false means that no connection can be made. */
  readonly reachable?: (() => boolean) | undefined;
}

const CHUNK_BYTES = 64 * 1024;

/** The lake that `--lake` would give for the simulated account, in process. */
export function simLake(link: SimLink, options: { address?: LakeAddress; tokenSource?: TokenSource } = {}): OwnLake {
  const address = options.address ?? simAddress(link.service);
  const http = simHttpClient({ hostHeader: address.hostHeader, ...link });
  return createAzureLake({ address, http, clock: link.clock, tokenSource: options.tokenSource });
}

/** The address of the simulated account, in the service's style. */
export function simAddress(service: SimService): LakeAddress {
  const path = service.style === "path";
  const endpoint = path ? `https://lake.invalid/${SIM_ACCOUNT}` : `https://${SIM_ACCOUNT}.blob.lake.invalid`;
  return parseLakeAddress(`AccountName=${SIM_ACCOUNT};AccountKey=${SIM_KEY};BlobEndpoint=${endpoint}`);
}

/** A client whose other end is the service itself. */
export function simHttpClient(link: SimLink): HttpClient {
  let closed = false;
  return {
    request: async (request) => {
      const refused = closed
        ? new ForebayError("closed", "the client is closed")
        : request.signal?.aborted === true
          ? cancelled()
          : link.reachable?.() === false
            ? new ForebayError("lake-unreachable", "no connection to the lake")
            : null;
      if (refused !== null) {
        request.body?.close();
        throw refused;
      }
      const sent = await drain(link, request);
      const delivery = deliver(link, sent);
      if (delivery.answer === "silence") return await never(link, request);
      if (delivery.firstByteMs > 0) await within(link.clock, delivery.firstByteMs, request.signal);
      if (delivery.answer === "reset") throw lost();
      return responseOf(link, request, delivery, delivery.answer);
    },
    close: () => {
      closed = true;
    },
  };
}

function cancelled(): ForebayError {
  return new ForebayError("cancelled", "the request was cancelled");
}

function lost(): ForebayError {
  return new ForebayError("lake-lost", "the lake's answer broke off");
}

function deliver(link: SimLink, request: SimRequest): Delivery {
  const context: SimContext = {
    nowMs: link.clock.wallMs(),
    remoteAddress: link.remoteAddress ?? "10.0.0.1",
    secure: link.secure ?? true,
  };
  if (link.faults !== undefined) return link.faults.deliver(request, context, link.service.handle);
  const answer = link.service.handle(request, context);
  return { firstByteMs: 0, bytesPerSecond: null, answer, announcedBytes: answer.body?.sizeBytes ?? null, fault: null };
}

async function drain(link: SimLink, request: ClientRequest): Promise<SimRequest> {
  const body = request.body === null ? new Uint8Array(0) : await drainSource(request.body);
  const length = request.body === null ? [] : ["Content-Length", String(body.length)];
  const headers = ["Host", link.hostHeader ?? "lake.invalid", ...request.headers, ...length];
  return { method: request.method, target: request.target, headers, body };
}

async function drainSource(source: BodySource): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  try {
    for (;;) {
      const segment = await source.next();
      if (segment === null) break;
      if (segment.kind === "bytes")
        // A copy: the slice of a Buffer is none.
        chunks.push(new Uint8Array(segment.bytes));
      else {
        const bytes = new Uint8Array(segment.length);
        readSync(segment.fd, bytes, 0, segment.length, segment.offset);
        chunks.push(bytes);
      }
    }
  } finally {
    source.close();
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** Waits for an answer that does not come: until the caller or the client's own time-out gives up. */
async function never(link: SimLink, request: ClientRequest): Promise<never> {
  await within(link.clock, limits.lakeFirstByteTimeoutMs, request.signal);
  throw new ForebayError("timeout", "the lake did not answer in time");
}

/** Sleeps, but rejects with `cancelled` as soon as the signal says so. */
function within(clock: Clock, delayMs: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      timer.cancel();
      reject(cancelled());
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}

function responseOf(link: SimLink, request: ClientRequest, delivery: Delivery, answer: SimResponse): ClientResponse {
  const announced = answer.body === null ? null : delivery.announcedBytes;
  const length = announced === null ? [] : ["Content-Length", String(announced)];
  const head = { status: answer.status, reason: "", headers: [...answer.headers, ...length] };
  return { head, body: readerOf(link, request, delivery, answer, announced ?? 0) };
}

function readerOf(
  link: SimLink,
  request: ClientRequest,
  delivery: Delivery,
  answer: SimResponse,
  announced: number,
): BodyReader {
  let at = 0;
  let gone = false;
  const there = answer.body?.sizeBytes ?? 0;
  return {
    lengthBytes: announced,
    read: async () => {
      if (request.signal?.aborted === true) throw cancelled();
      if (gone) throw cancelled();
      if (at >= announced) return null;
      if (at >= there || answer.body === null) throw lost();
      const length = Math.min(CHUNK_BYTES, there - at, announced - at);
      if (delivery.bytesPerSecond !== null) {
        await within(link.clock, (length * 1000) / delivery.bytesPerSecond, request.signal);
      }
      const bytes = answer.body.read(at, length).slice();
      at += length;
      return bytes;
    },
    cancel: () => {
      gone = true;
    },
  };
}
