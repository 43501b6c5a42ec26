/**
 * Heads of HTTP/1.1 messages, read strictly and in one pass. Bytes are taken as Latin-1, so that a character is a
 * byte and nothing is lost. Whatever two parsers might read differently is refused: bare CR or LF, folded lines,
 * white space before a colon, control characters (RFC 9112, 2.2, 5.1, 5.2; RFC 9110, 5.5).
 */
import { type ErrorCode, ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";

/** A message that is refused, with the status that says so. Code `http-malformed` or `http-too-large`. */
export class HttpRefusal extends ForebayError {
  readonly status: number;

  constructor(status: number, message: string, code: ErrorCode = "http-malformed") {
    super(code, message, { retryable: false });
    this.status = status;
  }
}

/** A method of Buffer that the type package leaves out. */
interface Latin1Buffer extends Buffer {
  latin1Slice(start: number, end: number): string;
}

/** The bytes `[start, end)` as a string of one character a byte. */
export function latin1(bytes: Buffer, start: number, end: number): string {
  return (bytes as Latin1Buffer).latin1Slice(start, end);
}

function tableOf(allowed: (code: number) => boolean): Uint8Array {
  return Uint8Array.from({ length: 256 }, (_, code) => (allowed(code) ? 1 : 0));
}

const TOKEN_SIGNS = "!#$%&'*+-.^_`|~";
const isAlphaNumeric = (code: number): boolean =>
  (code >= 48 && code <= 57) || (code >= 65 && code <= 90) || (code >= 97 && code <= 122);

/** Characters of a token: methods and field names (RFC 9110, 5.6.2). */
export const TOKEN = tableOf((code) => isAlphaNumeric(code) || TOKEN_SIGNS.includes(String.fromCharCode(code)));
/** Characters of a field value: HTAB, SP, VCHAR, obs-text. */
export const FIELD_TEXT = tableOf((code) => code === 9 || (code >= 32 && code !== 127));
/** Characters of a request target: no white space, no controls. Bytes beyond ASCII are the handler's to judge. */
export const TARGET_TEXT = tableOf((code) => code > 32 && code !== 127);

const CR = 13;
const LF = 10;
const COLON = 58;
const SPACE = 32;
const TAB = 9;
const WHOLE_CHUNK_BYTES = 16_384;
const HEAD_END = Buffer.from("\r\n\r\n");

/** Where to stop reading: no further than the first head's end, so that a body behind it is not made a string. */
function headEnd(chunk: Buffer, at: number): number {
  const { length } = chunk;
  // Requests without a body end with their head. Searching is a call that costs more than all the rest.
  if (length - at <= WHOLE_CHUNK_BYTES && chunk[length - 1] === LF && chunk[length - 3] === LF) return length;
  const end = chunk.indexOf(HEAD_END, at);
  return end < 0 ? length : end + HEAD_END.length;
}

function refuseLine(code: number, what: string): never {
  if (code === LF) throw new HttpRefusal(400, `A bare line feed stands in the ${what}.`);
  if (code === CR) throw new HttpRefusal(400, `A bare carriage return stands in the ${what}.`);
  throw new HttpRefusal(400, `The ${what} holds a character that is not allowed there.`);
}

/**
 * Reads one head, or the trailer section of a chunked body, piece by piece. Linear in the bytes given, however they
 * are cut: a line is looked at once it is complete.
 */
export class HeadScanner {
  /** The first line, without its end; empty until it came. */
  startLine = "";
  /** Names and values in order, the white space around values removed. */
  fields: string[] = [];
  private rest = "";
  private bytes = 0;
  private blankSeen = false;
  private startSeen: boolean;
  private readonly bytesMax: number;
  private readonly isTrailer: boolean;

  /** `isTrailer`: only field lines come. `bytesMax` bounds the whole section. */
  constructor(bytesMax: number, isTrailer = false) {
    this.bytesMax = bytesMax;
    this.isTrailer = isTrailer;
    this.startSeen = isTrailer;
  }

  /** Whether bytes of an unfinished head are held. */
  get begun(): boolean {
    return this.bytes > 0;
  }

  /** Makes ready for the next head. `fields` and `startLine` handed out before stay as they are. */
  reset(): void {
    this.startLine = "";
    this.fields = [];
    this.rest = "";
    this.bytes = 0;
    this.blankSeen = false;
    this.startSeen = this.isTrailer;
  }

  /**
   * Takes the bytes of `chunk` from `at` on. Returns the index after the head's end, or -1 when all were taken and
   * more are needed. Throws {@link HttpRefusal}.
   */
  feed(chunk: Buffer, at: number): number {
    const room = this.bytesMax - this.bytes;
    const stop = Math.min(this.isTrailer ? chunk.length : headEnd(chunk, at), at + room + 1);
    const held = this.rest.length;
    const text = held === 0 ? latin1(chunk, at, stop) : this.rest + latin1(chunk, at, stop);
    // A line is looked at once its end has come; until then bytes only gather.
    const hasLine = held === 0 || chunk.indexOf(LF, at) >= 0;
    const consumed = hasLine ? this.lines(text) : this.leave(text, 0);
    const taken = consumed < 0 ? stop - at : consumed - held;
    if (taken > room) {
      throw new HttpRefusal(431, `The head is larger than ${this.bytesMax} bytes.`, "http-too-large");
    }
    this.bytes += taken;
    return consumed < 0 ? -1 : at + taken;
  }

  /** Reads complete lines. The index after the empty line, or -1 with the unfinished line left in `rest`. */
  private lines(text: string): number {
    let at = 0;
    while (!this.startSeen) {
      const next = this.readStart(text, at);
      if (next < 0) return this.leave(text, at);
      at = next;
    }
    for (;;) {
      if (text.charCodeAt(at) === CR) {
        const second = text.charCodeAt(at + 1);
        if (second === LF) return at + 2;
        if (at + 1 < text.length) refuseLine(CR, "head");
        return this.leave(text, at);
      }
      const next = this.readField(text, at);
      if (next < 0) return this.leave(text, at);
      at = next;
    }
  }

  private leave(text: string, at: number): number {
    this.rest = text.slice(at);
    return -1;
  }

  private readStart(text: string, at: number): number {
    let i = at;
    while (FIELD_TEXT[text.charCodeAt(i)] === 1) i++;
    if (i >= text.length) return -1;
    const end = lineEndAt(text, i, "first line");
    if (end < 0) return -1;
    if (i === at) {
      // One empty line before a message is forgiven (RFC 9112, 2.2), no more.
      if (this.blankSeen) throw new HttpRefusal(400, "The message begins with empty lines.");
      this.blankSeen = true;
      return end;
    }
    this.startLine = text.slice(at, i);
    this.startSeen = true;
    return end;
  }

  private readField(text: string, at: number): number {
    let i = at;
    while (TOKEN[text.charCodeAt(i)] === 1) i++;
    if (i >= text.length) return -1;
    const code = text.charCodeAt(i);
    if (code !== COLON || i === at) refuseName(code, i === at);
    const nameEnd = i++;
    while (text.charCodeAt(i) === SPACE || text.charCodeAt(i) === TAB) i++;
    const valueAt = i;
    while (FIELD_TEXT[text.charCodeAt(i)] === 1) i++;
    if (i >= text.length) return -1;
    const next = lineEndAt(text, i, "header value");
    if (next < 0) return -1;
    let valueEnd = i;
    while (valueEnd > valueAt && isBlank(text.charCodeAt(valueEnd - 1))) valueEnd--;
    this.fields.push(text.slice(at, nameEnd), text.slice(valueAt, valueEnd));
    if (this.fields.length > 2 * limits.httpHeaderCountMax) {
      throw new HttpRefusal(431, `There are more than ${limits.httpHeaderCountMax} header fields.`, "http-too-large");
    }
    return next;
  }
}

const isBlank = (code: number): boolean => code === SPACE || code === TAB;

function refuseName(code: number, atStart: boolean): never {
  if (atStart && isBlank(code)) throw new HttpRefusal(400, "A header line is folded.");
  if (code === COLON) throw new HttpRefusal(400, "A header line has no name.");
  if (isBlank(code)) throw new HttpRefusal(400, "White space stands in a header name or before its colon.");
  refuseLine(code, "header name");
}

/** The index after the CRLF at `at`, -1 when its LF is yet to come. */
function lineEndAt(text: string, at: number, what: string): number {
  const code = text.charCodeAt(at);
  if (code !== CR) refuseLine(code, what);
  if (at + 1 >= text.length) return -1;
  if (text.charCodeAt(at + 1) !== LF) refuseLine(CR, what);
  return at + 2;
}
