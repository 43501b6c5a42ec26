/**
 * A small HTTP/1.1 client of the tests' own over bare sockets: it sends exactly the bytes it is given and hands back
 * exactly what came, so that header names, framing and connection behaviour can be compared. It shares nothing with
 * `src/http`: being independent is its purpose.
 */
import * as net from "node:net";
import * as tls from "node:tls";
import { within } from "./temp.ts";

/** Where to connect to. On TLS: the certificate to trust (else the system's) and the name to ask for. */
export interface RawTarget {
  readonly host: string;
  readonly port: number;
  readonly tls?: { readonly ca?: string | undefined; readonly name?: string } | undefined;
}

/** How a body ended: by its length, by its last chunk, by the end of the connection, or there was none. */
export type Framing = "none" | "length" | "chunked" | "close";

/** A response as it came. */
export interface RawResponse {
  readonly version: string;
  readonly status: number;
  readonly reason: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body: Uint8Array;
  readonly framing: Framing;
  /** The status codes of the 1xx responses before it. */
  readonly interim: readonly number[];
}

/** A request as it goes out. Only what is given is sent, apart from the framing that `body` needs. */
export interface RawRequest {
  readonly method: string;
  /** The request target: raw. */
  readonly target: string;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly body?: Uint8Array | undefined;
  /** Sends the body in chunks of this size instead of with a Content-Length. */
  readonly chunkBytes?: number | undefined;
  readonly version?: string | undefined;
}

const REPLY_TIMEOUT_MS = 60_000;

/** The value of a header, joined by ", " when repeated. */
export function headerValue(response: Pick<RawResponse, "headers">, name: string): string | undefined {
  const values = response.headers.filter(([key]) => key.toLowerCase() === name.toLowerCase()).map(([, value]) => value);
  return values.length === 0 ? undefined : values.join(", ");
}

/** One connection. */
export class RawConnection {
  private readonly socket: net.Socket;
  private chunks: Uint8Array[] = [];
  private size = 0;
  private ended = false;
  private failure: Error | undefined;
  private wake: () => void = () => {};

  private constructor(socket: net.Socket) {
    this.socket = socket;
    socket.on("data", (chunk: Uint8Array) => {
      this.chunks.push(new Uint8Array(chunk));
      this.size += chunk.length;
      this.wake();
    });
    const end = (): void => {
      this.ended = true;
      this.wake();
    };
    socket.on("end", end);
    socket.on("close", end);
    socket.on("error", (error) => {
      this.failure = error;
      end();
    });
  }

  /** Connects; over TLS when the target has a certificate to trust. */
  static open(target: RawTarget): Promise<RawConnection> {
    const opened = new Promise<RawConnection>((resolve, reject) => {
      const { host, port } = target;
      const done = (): void => {
        socket.off("error", reject);
        resolve(new RawConnection(socket));
      };
      const trust = target.tls?.ca === undefined ? {} : { ca: [target.tls.ca] };
      const servername = target.tls?.name ?? "localhost";
      const socket: net.Socket = target.tls
        ? tls.connect({ host, port, ...trust, servername, ALPNProtocols: ["http/1.1"] }, done)
        : net.connect({ host, port }, done);
      socket.once("error", reject);
      socket.setNoDelay(true);
    });
    return within(10_000, `connecting to ${target.host}:${target.port}`, opened);
  }

  /** Sends bytes as they are. */
  send(bytes: Uint8Array | string): void {
    this.socket.write(typeof bytes === "string" ? Buffer.from(bytes, "latin1") : bytes);
  }

  /** Sends no more (half-close). */
  finish(): void {
    this.socket.end();
  }

  close(): void {
    this.socket.destroy();
  }

  /** Resolves when the peer has closed, with what it had sent beyond what was read. */
  async untilClosed(timeoutMs = 10_000): Promise<Uint8Array> {
    while (!this.ended) await within(timeoutMs, "the peer to close", this.more());
    return this.take(this.size);
  }

  /** The next response; `method` decides whether it has a body. 1xx responses are counted and passed over. */
  async response(method: string): Promise<RawResponse> {
    const interim: number[] = [];
    for (;;) {
      const head = await this.head();
      if (head.status >= 200) return { ...head, ...(await this.body(method, head)), interim };
      interim.push(head.status);
    }
  }

  /** The status of the next 1xx response. Throws when it is a final one. */
  async interim(): Promise<number> {
    const { status } = await this.head();
    if (status >= 200) throw new Error(`a final response of ${status} instead of an interim one`);
    return status;
  }

  private more(): Promise<void> {
    return new Promise((resolve) => {
      this.wake = resolve;
    });
  }

  private async fill(what: string): Promise<void> {
    if (this.ended) {
      const cause = this.failure === undefined ? {} : { cause: this.failure };
      throw new Error(`the connection ended before ${what} (${this.size} bytes left over)`, cause);
    }
    await within(REPLY_TIMEOUT_MS, what, this.more());
  }

  private peek(): Buffer {
    const all = Buffer.concat(this.chunks);
    this.chunks = [all];
    return all;
  }

  private take(count: number): Buffer {
    const all = this.peek();
    this.chunks = [all.subarray(count)];
    this.size = all.length - count;
    return all.subarray(0, count);
  }

  private async exactly(count: number, what: string): Promise<Buffer> {
    while (this.size < count) await this.fill(what);
    return this.take(count);
  }

  private async upTo(mark: string, what: string): Promise<string> {
    for (;;) {
      const at = this.peek().indexOf(mark, 0, "latin1");
      if (at >= 0) return this.take(at + mark.length).toString("latin1", 0, at);
      await this.fill(what);
    }
  }

  private async head(): Promise<Pick<RawResponse, "version" | "status" | "reason" | "headers">> {
    const lines = (await this.upTo("\r\n\r\n", "a response head")).split("\r\n");
    const match = /^HTTP\/(\d\.\d) (\d{3})(?: (.*))?$/.exec(lines[0] ?? "");
    if (!match) throw new Error(`not a status line: ${JSON.stringify(lines[0])}`);
    const headers = lines.slice(1).map((line): readonly [string, string] => {
      const colon = line.indexOf(":");
      if (colon <= 0) throw new Error(`not a header: ${JSON.stringify(line)}`);
      return [line.slice(0, colon), line.slice(colon + 1).trim()];
    });
    return { version: match[1] ?? "", status: Number(match[2]), reason: match[3] ?? "", headers };
  }

  private async body(
    method: string,
    head: Pick<RawResponse, "status" | "headers">,
  ): Promise<Pick<RawResponse, "body" | "framing">> {
    if (method === "HEAD" || head.status === 204 || head.status === 304) {
      return { body: new Uint8Array(0), framing: "none" };
    }
    if (headerValue(head, "transfer-encoding")?.toLowerCase() === "chunked") {
      return { body: await this.chunked(), framing: "chunked" };
    }
    const length = headerValue(head, "content-length");
    if (length !== undefined) return { body: await this.exactly(Number(length), "the body"), framing: "length" };
    return { body: await this.untilClosed(REPLY_TIMEOUT_MS), framing: "close" };
  }

  private async chunked(): Promise<Uint8Array> {
    const parts: Uint8Array[] = [];
    for (;;) {
      const size = Number.parseInt(await this.upTo("\r\n", "a chunk size"), 16);
      if (!Number.isInteger(size)) throw new Error("not a chunk size");
      if (size === 0) break;
      parts.push(await this.exactly(size, "a chunk"));
      await this.exactly(2, "the end of a chunk");
    }
    while ((await this.upTo("\r\n", "trailers")) !== "") {
      // trailers are passed over
    }
    return Buffer.concat(parts);
  }
}

/** The bytes of a request. */
export function requestBytes(request: RawRequest): Uint8Array {
  const lines = [`${request.method} ${request.target} HTTP/${request.version ?? "1.1"}`];
  for (const [name, value] of request.headers) lines.push(`${name}: ${value}`);
  const body = request.body;
  const has = (name: string): boolean => request.headers.some(([key]) => key.toLowerCase() === name);
  if (body !== undefined && request.chunkBytes !== undefined) lines.push("Transfer-Encoding: chunked");
  else if (body !== undefined && !has("content-length")) lines.push(`Content-Length: ${body.length}`);
  const head = Buffer.from(`${lines.join("\r\n")}\r\n\r\n`, "latin1");
  if (body === undefined) return head;
  if (request.chunkBytes === undefined) return Buffer.concat([head, body]);
  const parts: Uint8Array[] = [head];
  for (let at = 0; at < body.length; at += request.chunkBytes) {
    const chunk = body.subarray(at, at + request.chunkBytes);
    parts.push(Buffer.from(`${chunk.length.toString(16)}\r\n`), chunk, Buffer.from("\r\n"));
  }
  parts.push(Buffer.from("0\r\n\r\n"));
  return Buffer.concat(parts);
}

/** Sends one request on a connection of its own and returns the response. */
export async function rawRequest(target: RawTarget, request: RawRequest): Promise<RawResponse> {
  const connection = await RawConnection.open(target);
  try {
    connection.send(requestBytes(request));
    return await connection.response(request.method);
  } finally {
    connection.close();
  }
}
