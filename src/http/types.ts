/**
 * HTTP/1.1 as this product needs it: a strict codec that leaves targets and header names as they came, a server on
 * raw sockets whose file bodies leave by sendfile, and a client towards the lake. Anything ambiguous (two lengths, a
 * length beside a transfer coding, bare line feeds, white space before a colon) is refused: what two parsers read
 * differently is how requests are smuggled. Bodies are pulled, never pushed, so memory is bounded on both sides.
 *
 * Sources: RFC 9110, RFC 9112.
 */

/** Header fields in order, names as they came: `[name, value, name, value, …]`. Values are Latin-1 strings. */
export type RawHeaders = readonly string[];

/** A request's head. `target` is the raw request target, never decoded or normalised. */
export interface RequestHead {
  readonly method: string;
  readonly target: string;
  /** 1 for HTTP/1.1, 0 for HTTP/1.0. */
  readonly minorVersion: number;
  readonly headers: RawHeaders;
}

/** Header lines made ready to be sent again and again: see `headerBlock` in `head-writer.ts`. */
export interface HeaderBlock {
  readonly headers: RawHeaders;
  /** The same as whole lines with their ends, checked. */
  readonly text: string;
}

/** A response's head. */
export interface ResponseHead {
  readonly status: number;
  readonly reason: string;
  /** Goes out before `headers`. */
  readonly block?: HeaderBlock;
  readonly headers: RawHeaders;
}

/**
 * Whether the header name `candidate` is `name` (lower case), whatever the case of its letters. Looks at characters
 * one by one: making a lower-case copy costs a microsecond on names cut out of a head.
 */
export function isNamed(candidate: string, name: string): boolean {
  if (candidate.length !== name.length) return false;
  for (let i = 0; i < name.length; i++) {
    const code = candidate.charCodeAt(i);
    if (code === name.charCodeAt(i)) continue;
    if (code < 65 || code > 90 || code + 32 !== name.charCodeAt(i)) return false;
  }
  return true;
}

/** The value of header `name` (lower case), or undefined. Of repeated fields the values are joined by ", ". */
export function headerOf(headers: RawHeaders, name: string): string | undefined {
  let found: string | undefined;
  for (let i = 0; i < headers.length; i += 2) {
    const candidate = headers[i] as string;
    if (candidate.length === name.length && isNamed(candidate, name)) {
      found = found === undefined ? (headers[i + 1] as string) : `${found}, ${headers[i + 1]}`;
    }
  }
  return found;
}

/**
 * A piece of a response body. A `file` piece is sent from the descriptor without its bytes entering the heap. The
 * descriptor and the bytes stay valid until the source is asked for its next piece, or closed.
 */
export type Segment =
  | { readonly kind: "file"; readonly fd: number; readonly offset: number; readonly length: number }
  | { readonly kind: "bytes"; readonly bytes: Uint8Array };

/** A body to be sent, pulled piece by piece. */
export interface BodySource {
  /** The exact number of bytes that follow, or null when not known beforehand (sent chunked). */
  readonly lengthBytes: number | null;
  /** The next piece, or null at the end. A throw or rejection means that the body cannot be completed. */
  next(): Segment | null | Promise<Segment | null>;
  /** Called exactly once: after the last byte was handed to the kernel, or when the transfer ended early. */
  close(): void;
}

/** A body that arrives, pulled chunk by chunk. Nothing is read from the peer beyond a small buffer until asked. */
export interface BodyReader {
  /** From Content-Length; null for chunked or until-close bodies. 0 when there is none. */
  readonly lengthBytes: number | null;
  /** The next bytes (valid for good: they are not reused), or null at the end. Rejects when the body breaks off. */
  read(): Promise<Uint8Array | null>;
  /**
   * Puts bytes at hand into `target[from, to)`: how many, 0 when none are or at the end. Throws as {@link read} rejects.
   * Where it is there and {@link lengthBytes} is known, this is the cheaper way: no memory is allocated for them.
   */
  takeInto?(target: Uint8Array, from: number, to: number): number;
  /** Resolves when there is something to {@link takeInto}: true; at the end: false. Rejects as {@link read} does. */
  ready?(): Promise<boolean>;
  /** Lets go of the rest: the connection is closed unless the body had ended. Idempotent. */
  cancel(): void;
}

/** A request being served, with the means to answer it. */
export interface Exchange {
  readonly head: RequestHead;
  readonly body: BodyReader;
  /** The client's IP address, in text. */
  readonly remoteAddress: string;
  readonly secure: boolean;
  /** Aborted when the client is gone before the response was complete. */
  readonly signal: AbortSignal;
  /**
   * Sends the response; at most once. `headers` carry neither Content-Length nor Transfer-Encoding nor Connection:
   * the server adds those. For HEAD, and for 204 and 304, the body is not sent; `contentLength` then gives the value
   * of the header when the body has none to say. Returns nothing when the last byte is with the kernel already;
   * else resolves when it is, and rejects when the client went away or the body failed (the connection is then cut, never ended as if complete).
   */
  respond(head: ResponseHead, body: BodySource | null, contentLength?: number): void | Promise<void>;
}

/** What a server does with each request. A rejection is answered with 500 if nothing was sent yet, else cut. */
export type Handler = (exchange: Exchange) => void | Promise<void>;

/** An answer of the other end. */
export interface ClientResponse {
  readonly head: ResponseHead;
  readonly body: BodyReader;
}

/** A body source of bytes at hand. */
export function bytesSource(bytes: Uint8Array): BodySource {
  let sent = false;
  return {
    lengthBytes: bytes.length,
    next: () => {
      if (sent || bytes.length === 0) return null;
      sent = true;
      return { kind: "bytes", bytes };
    },
    close: () => {},
  };
}

/** A body source that passes on what a reader brings. */
export function sourceOfReader(reader: BodyReader): BodySource {
  return {
    lengthBytes: reader.lengthBytes,
    next: async () => {
      const bytes = await reader.read();
      return bytes === null ? null : { kind: "bytes", bytes };
    },
    close: () => reader.cancel(),
  };
}

/** A request to the lake. `target` goes out exactly as given; Host and framing headers are added by the client. */
export interface ClientRequest {
  readonly method: string;
  readonly target: string;
  /** Without Host, Content-Length, Transfer-Encoding, Connection, Expect: the client adds what is needed. */
  readonly headers: RawHeaders;
  /** Null for no body at all; a source of 0 bytes sends `Content-Length: 0`. */
  readonly body: BodySource | null;
  readonly signal?: AbortSignal | undefined;
}

/** Connections to one origin, kept alive and reused. */
export interface HttpClient {
  /** Resolves with the head of the final response (1xx are passed over). Rejections: see {@link Lake} in `lake/`. */
  request(request: ClientRequest): Promise<ClientResponse>;
  /** Ends idle connections at once and those under way when they are done. */
  close(): void;
}
