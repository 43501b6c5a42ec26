/**
 * The chunked transfer coding, read strictly (RFC 9112, 7.1): hexadecimal sizes without signs or blanks, extensions
 * by their grammar and thrown away, CRLF only, trailers read by the rules of a head and dropped.
 */
import { limits } from "../base/limits.ts";
import { HeadScanner, HttpRefusal, TOKEN } from "./head.ts";

type State =
  | "size"
  | "extension-name"
  | "extension-value"
  | "extension-quoted"
  | "extension-escaped"
  | "extension-done"
  | "size-end"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailer"
  | "done";

const CR = 13;
const LF = 10;
/** 13 hexadecimal digits stay below 2^53. */
const SIZE_DIGITS_MAX = 13;

/** Fields that must not stand in a trailer (RFC 9110, 6.5.1). */
const MISPLACED = new Set(["connection", "content-length", "host", "transfer-encoding", "upgrade"]);

/** Decodes one chunked body, fed with pieces of any size. */
export class ChunkedDecoder {
  /** Where the last {@link step} stopped. */
  at = 0;
  private state: State = "size";
  private remaining = 0;
  private digits = 0;
  private lineBytes = 0;
  private tokenBytes = 0;
  private trailer: HeadScanner | null = null;

  /** Whether the last chunk and the trailers have come. */
  get done(): boolean {
    return this.state === "done";
  }

  /**
   * Reads on in `chunk` from `from`. Returns the next data bytes (a view of `chunk`), or null when the body has ended
   * or `chunk` is used up; {@link at} then says how far it went. Throws {@link HttpRefusal}.
   */
  step(chunk: Buffer, from: number): Buffer | null {
    let at = from;
    while (at < chunk.length && this.state !== "done") {
      if (this.state === "data") {
        const end = Math.min(chunk.length, at + this.remaining);
        this.remaining -= end - at;
        if (this.remaining === 0) this.state = "data-cr";
        this.at = end;
        return chunk.subarray(at, end);
      }
      if (this.state === "trailer") at = this.readTrailer(chunk, at);
      else this.readByte(chunk[at++] as number);
    }
    this.at = at;
    return null;
  }

  private readTrailer(chunk: Buffer, at: number): number {
    this.trailer ??= new HeadScanner(limits.httpTrailerBytesMax, true);
    const end = this.trailer.feed(chunk, at);
    if (end < 0) return chunk.length;
    // These speak about the message or the connection: in a trailer they would come too late, and some obey them.
    for (let i = 0; i < this.trailer.fields.length; i += 2) {
      if (MISPLACED.has((this.trailer.fields[i] as string).toLowerCase())) refuse();
    }
    this.state = "done";
    return end;
  }

  private readByte(byte: number): void {
    switch (this.state) {
      case "size":
        this.readSize(byte);
        return;
      case "size-end":
        if (byte !== LF) refuse();
        this.state = this.remaining === 0 ? "trailer" : "data";
        this.digits = 0;
        this.lineBytes = 0;
        return;
      case "data-cr":
        if (byte !== CR) refuse();
        this.state = "data-lf";
        return;
      case "data-lf":
        if (byte !== LF) refuse();
        this.remaining = 0;
        this.state = "size";
        return;
      default:
        this.readExtension(byte);
        return;
    }
  }

  private readSize(byte: number): void {
    const digit = hexDigitOf(byte);
    if (digit >= 0) {
      if (++this.digits > SIZE_DIGITS_MAX) throw new HttpRefusal(400, "A chunk is too large.", "http-too-large");
      this.remaining = this.remaining * 16 + digit;
      return;
    }
    if (this.digits === 0) refuse();
    this.endOfPart(byte);
  }

  private readExtension(byte: number): void {
    if (++this.lineBytes > limits.httpChunkLineBytesMax) {
      throw new HttpRefusal(400, "The line of a chunk is too long.", "http-too-large");
    }
    switch (this.state) {
      case "extension-name":
      case "extension-value":
        this.readExtensionToken(byte);
        return;
      case "extension-quoted":
        if (byte === 34) this.state = "extension-done";
        else if (byte === 92) this.state = "extension-escaped";
        else if (!isQuotable(byte)) refuse();
        return;
      case "extension-escaped":
        if (!isQuotable(byte)) refuse();
        this.state = "extension-quoted";
        return;
      default:
        this.endOfPart(byte);
    }
  }

  private readExtensionToken(byte: number): void {
    if (TOKEN[byte] === 1) {
      this.tokenBytes++;
      return;
    }
    if (this.state === "extension-value" && this.tokenBytes === 0 && byte === 34) {
      this.state = "extension-quoted";
      return;
    }
    if (this.tokenBytes === 0) refuse();
    if (this.state === "extension-name" && byte === 61) {
      this.state = "extension-value";
      this.tokenBytes = 0;
      return;
    }
    this.endOfPart(byte);
  }

  /** After the size or an extension come only a further extension or the end of the line. */
  private endOfPart(byte: number): void {
    if (byte === CR) this.state = "size-end";
    else if (byte === 59) {
      this.state = "extension-name";
      this.tokenBytes = 0;
    } else refuse();
  }
}

function refuse(): never {
  throw new HttpRefusal(400, "The chunked body is malformed.");
}

function hexDigitOf(byte: number): number {
  if (byte >= 48 && byte <= 57) return byte - 48;
  const lower = byte | 32;
  return lower >= 97 && lower <= 102 ? lower - 87 : -1;
}

const isQuotable = (byte: number): boolean => byte === 9 || (byte >= 32 && byte !== 127);
