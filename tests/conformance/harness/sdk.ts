/**
 * The real @azure/storage-blob, watched: every exchange is written down as it passes. Over plain http in path style the
 * SDK's own transport is used; where a name would have to be resolved or a certificate trusted, the tests' raw one.
 */
import { PassThrough, Readable } from "node:stream";
import type { TokenCredential } from "@azure/identity";
import {
  type AnonymousCredential,
  BlobServiceClient,
  type HttpOperationResponse,
  newPipeline,
  type RequestPolicy,
  type RequestPolicyFactory,
  RestError,
  type StorageSharedKeyCredential,
  type WebResource,
} from "@azure/storage-blob";
import { rawRequest } from "../../support/raw-http.ts";
import { within } from "../../support/temp.ts";
import { type Endpoint, targetOf } from "./endpoint.ts";
import type { CacheExpectation, Exchange } from "./outcome.ts";

/** Who the SDK speaks as. */
export type SdkCredential = StorageSharedKeyCredential | AnonymousCredential | TokenCredential;

/** Collects the exchanges of one pass, in the order in which the responses began. */
export interface Recorder {
  /** Sent with every request: `x-forebay-bypass`, for one. */
  readonly extraHeaders: readonly (readonly [string, string])[];
  cache: CacheExpectation;
  /** Reserves the next place; the exchange is there once the promise resolves. */
  add(exchange: Promise<Exchange>): void;
}

type Fields = Pick<Exchange, "label" | "status" | "headers" | "clientRequestId" | "cache">;

async function bytesOf(body: unknown): Promise<Uint8Array | undefined> {
  if (body === undefined || body === null) return undefined;
  if (typeof body === "string") return Buffer.from(body, "utf8");
  if (body instanceof Uint8Array) return body;
  if (body instanceof ArrayBuffer) return new Uint8Array(body);
  if (body instanceof Blob) return new Uint8Array(await body.arrayBuffer());
  if (typeof body === "function") return bytesOf(body());
  if (body instanceof Readable) {
    const parts: Uint8Array[] = [];
    for await (const part of body) parts.push(Buffer.from(part));
    return Buffer.concat(parts);
  }
  throw new Error("the SDK sent a body of a kind that the raw transport does not know");
}

/** The SDK's requests over the tests' own HTTP client: the Host header need not resolve. */
function rawTransport(endpoint: Endpoint): RequestPolicy {
  return {
    sendRequest: async (request: WebResource): Promise<HttpOperationResponse> => {
      const url = new URL(request.url);
      const target = request.url.slice(request.url.indexOf(url.host) + url.host.length);
      const response = await rawRequest(targetOf(endpoint), {
        method: request.method,
        target: target === "" ? "/" : target,
        headers: [
          ["Host", url.host],
          ...request.headers.headersArray().map(({ name, value }) => [name, value] as const),
        ],
        body: await bytesOf(request.body),
      });
      const headers = request.headers.clone();
      for (const name of headers.headerNames()) headers.remove(name);
      for (const [name, value] of response.headers) {
        const known = headers.get(name);
        headers.set(name, known === undefined ? value : `${known}, ${value}`);
      }
      const streams = request.streamResponseStatusCodes;
      const streamed = streams?.has(response.status) || streams?.has(Number.POSITIVE_INFINITY);
      return {
        request,
        status: response.status,
        headers,
        ...(streamed
          ? { readableStreamBody: Readable.from([Buffer.from(response.body)]) }
          : { bodyAsText: Buffer.from(response.body).toString("utf8") }),
      };
    },
  };
}

function recordingPolicy(recorder: Recorder): RequestPolicyFactory {
  const fieldsOf = (request: WebResource, status: number, headers: Readonly<Record<string, string>>): Fields => ({
    label: `sdk ${request.method} ${new URL(request.url).search.replace(/sig=[^&]*/, "sig")}`,
    status,
    headers: Object.entries(headers),
    clientRequestId: request.headers.get("x-ms-client-request-id"),
    cache: recorder.cache,
  });
  return {
    create: (next) => ({
      sendRequest: async (request) => {
        for (const [name, value] of recorder.extraHeaders) request.headers.set(name, value);
        try {
          const response = await next.sendRequest(request);
          const fields = fieldsOf(request, response.status, response.headers.toJson({ preserveCase: true }));
          const stream = response.readableStreamBody;
          if (stream === undefined) {
            const body = Buffer.from(response.bodyAsText ?? "", "utf8");
            recorder.add(Promise.resolve({ ...fields, body }));
            return response;
          }
          const { copy, bytes } = watched(stream);
          recorder.add(bytes.then((body) => ({ ...fields, body })));
          response.readableStreamBody = copy;
          return response;
        } catch (error) {
          if (error instanceof RestError && error.response) {
            const { status, headers, bodyAsText } = error.response;
            const fields = fieldsOf(request, status, headers.toJSON({ preserveCase: true }));
            recorder.add(Promise.resolve({ ...fields, body: Buffer.from(bodyAsText ?? "", "utf8") }));
          }
          throw error;
        }
      },
    }),
  };
}

function watched(stream: NodeJS.ReadableStream): { copy: NodeJS.ReadableStream; bytes: Promise<Uint8Array> } {
  const copy = new PassThrough();
  const parts: Uint8Array[] = [];
  const bytes = new Promise<Uint8Array>((resolve, reject) => {
    copy.on("data", (part: Buffer) => parts.push(new Uint8Array(part)));
    copy.on("end", () => resolve(Buffer.concat(parts)));
    stream.on("error", (error) => {
      copy.destroy(error);
      reject(error);
    });
    copy.on("error", reject);
  });
  copy.pause();
  stream.pipe(copy);
  return { copy, bytes: within(60_000, "a body that the SDK reads", bytes) };
}

/** A client of the whole service at `url`, watched by `recorder`. */
export function watchedService(
  endpoint: Endpoint,
  recorder: Recorder,
  credential: SdkCredential | undefined,
  url: string,
  maxTries = 1,
): BlobServiceClient {
  const own = endpoint.hostName !== undefined || (endpoint.style === "path" && endpoint.tls === undefined);
  const pipeline = newPipeline(credential, {
    retryOptions: { maxTries, retryDelayInMs: 20 },
    ...(own ? {} : { httpClient: rawTransport(endpoint) }),
  });
  pipeline.factories.push(recordingPolicy(recorder));
  return new BlobServiceClient(url, pipeline);
}
