import { describe, expect, test } from "bun:test";
import { seededRandom } from "../base/random.ts";
import { ChunkedDecoder } from "./chunked.ts";
import { parseRequest, parseResponse } from "./framing.ts";
import { HeadScanner, HttpRefusal } from "./head.ts";
import { checkFields, extendLead, type Lead, leadBytes, writeLead } from "./head-writer.ts";
import { headerOf } from "./types.ts";

function scan(text: string, cut?: (length: number) => number): { scanner: HeadScanner; end: number } {
  const scanner = new HeadScanner(64 * 1024);
  const bytes = Buffer.from(text, "latin1");
  let end = -1;
  for (let at = 0; at < bytes.length && end < 0; ) {
    const length = cut === undefined ? bytes.length : cut(bytes.length - at);
    const piece = Buffer.from(bytes.subarray(at, at + length));
    const local = scanner.feed(piece, 0);
    if (local >= 0) end = at + local;
    at += length;
  }
  return { scanner, end };
}

function request(text: string) {
  const { scanner, end } = scan(text);
  expect(end).toBe(text.length);
  return parseRequest(scanner);
}

/** The status with which `text` is refused, 0 if it is taken, -1 if more is needed. */
function refusal(text: string): number {
  try {
    const { scanner, end } = scan(text);
    if (end < 0) return -1;
    parseRequest(scanner);
    return 0;
  } catch (error) {
    if (error instanceof HttpRefusal) return error.status;
    throw error;
  }
}

const HOST = "Host: a\r\n";

describe("request heads", () => {
  test("the target and the headers stay as they came", () => {
    const { head, framing, keepAlive } = request(
      "GET /a//b%2F..\\c%zz?x=\xe9|{}#f HTTP/1.1\r\nHOST: h:1\r\nX-Ms-Meta-Foo!:  a\tb \xff \r\nx-ms-meta-1:\r\n\r\n",
    );
    expect(head).toEqual({
      method: "GET",
      target: "/a//b%2F..\\c%zz?x=\xe9|{}#f",
      minorVersion: 1,
      headers: ["HOST", "h:1", "X-Ms-Meta-Foo!", "a\tb \xff", "x-ms-meta-1", ""],
    });
    expect(framing).toEqual({ kind: "none" });
    expect(keepAlive).toBe(true);
    expect(headerOf(head.headers, "host")).toBe("h:1");
  });

  test("bodies, versions and connections", () => {
    expect(request(`PUT / HTTP/1.1\r\n${HOST}Content-Length: 012\r\n\r\n`).framing).toEqual({
      kind: "length",
      lengthBytes: 12,
    });
    expect(request(`PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: CHUNKED\r\n\r\n`).framing).toEqual({ kind: "chunked" });
    expect(request(`PUT / HTTP/1.1\r\n${HOST}Expect: 100-Continue\r\n\r\n`).expectsContinue).toBe(true);
    expect(request("GET / HTTP/1.0\r\n\r\n").keepAlive).toBe(false);
    expect(request("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keepAlive).toBe(true);
    expect(request(`GET / HTTP/1.1\r\n${HOST}Connection: TE, close\r\n\r\n`).keepAlive).toBe(false);
    expect(request(`\r\nGET / HTTP/1.1\r\n${HOST}\r\n`).head.target).toBe("/");
  });

  test("absolute targets become paths, and their host wins (RFC 9112, 3.2.2)", () => {
    const { head } = request("GET HTTP://other.example:80/x?y HTTP/1.1\r\nA: b\r\nHost: h\r\n\r\n");
    expect(head.target).toBe("/x?y");
    expect(head.headers).toEqual(["A", "b", "Host", "other.example:80"]);
    expect(request("GET https://o?q HTTP/1.1\r\nHost: h\r\n\r\n").head.target).toBe("/?q");
    expect(request("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").head.target).toBe("*");
    expect(request("GET http://o HTTP/1.0\r\n\r\n").head.headers).toEqual(["Host", "o"]);
  });

  const refused: [string, number, string][] = [
    ["bare LF at the request line", 400, `GET / HTTP/1.1\n${HOST}\r\n`],
    ["bare LF after a header", 400, "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n"],
    ["only LFs", 400, "GET / HTTP/1.1\nHost: a\n\n"],
    ["bare CR in a value", 400, `GET / HTTP/1.1\r\n${HOST}X: a\rb\r\n\r\n`],
    ["bare CR at the end", 400, `GET / HTTP/1.1\r\n${HOST}\rX: b\r\n\r\n`],
    ["CR CR LF", 400, `GET / HTTP/1.1\r\n${HOST}X: y\r\r\n\r\n`],
    ["a folded line", 400, `GET / HTTP/1.1\r\n${HOST} folded\r\n\r\n`],
    ["a line folded by a tab", 400, `GET / HTTP/1.1\r\n${HOST}\tfolded\r\n\r\n`],
    ["white space before a colon", 400, "GET / HTTP/1.1\r\nHost : a\r\n\r\n"],
    ["white space in a name", 400, `GET / HTTP/1.1\r\n${HOST}A B: c\r\n\r\n`],
    ["no name", 400, `GET / HTTP/1.1\r\n${HOST}: c\r\n\r\n`],
    ["no colon", 400, `GET / HTTP/1.1\r\n${HOST}abc\r\n\r\n`],
    ["a separator in a name", 400, `GET / HTTP/1.1\r\n${HOST}a(b: c\r\n\r\n`],
    ["non-ASCII in a name", 400, `GET / HTTP/1.1\r\n${HOST}a\xe9: c\r\n\r\n`],
    ["NUL in a value", 400, `GET / HTTP/1.1\r\n${HOST}a: \0\r\n\r\n`],
    ["a control in a value", 400, `GET / HTTP/1.1\r\n${HOST}a: \x01\r\n\r\n`],
    ["DEL in a value", 400, `GET / HTTP/1.1\r\n${HOST}a: \x7f\r\n\r\n`],
    ["no method", 400, ` / HTTP/1.1\r\n${HOST}\r\n`],
    ["a method that is no token", 400, `G(T / HTTP/1.1\r\n${HOST}\r\n`],
    ["two spaces", 400, `GET  / HTTP/1.1\r\n${HOST}\r\n`],
    ["a tab for a space", 400, `GET\t/ HTTP/1.1\r\n${HOST}\r\n`],
    ["a space in the target", 400, `GET /a b HTTP/1.1\r\n${HOST}\r\n`],
    ["a control in the target", 400, `GET /a\x01 HTTP/1.1\r\n${HOST}\r\n`],
    ["a space behind the version", 400, `GET / HTTP/1.1 \r\n${HOST}\r\n`],
    ["no version", 400, `GET /\r\n${HOST}\r\n`],
    ["another protocol", 400, `GET / HTCPCP/1.1\r\n${HOST}\r\n`],
    ["lower case", 400, `GET / http/1.1\r\n${HOST}\r\n`],
    ["HTTP/2.0", 505, `GET / HTTP/2.0\r\n${HOST}\r\n`],
    ["HTTP/1.2", 505, `GET / HTTP/1.2\r\n${HOST}\r\n`],
    ["HTTP/1.10", 400, `GET / HTTP/1.10\r\n${HOST}\r\n`],
    ["CONNECT", 501, `CONNECT a:1 HTTP/1.1\r\n${HOST}\r\n`],
    ["* for GET", 400, `GET * HTTP/1.1\r\n${HOST}\r\n`],
    ["a relative target", 400, `GET a HTTP/1.1\r\n${HOST}\r\n`],
    ["another scheme", 400, `GET ftp://a/ HTTP/1.1\r\n${HOST}\r\n`],
    ["user information", 400, `GET http://u@a/ HTTP/1.1\r\n${HOST}\r\n`],
    ["an absolute target without a host", 400, `GET http:///x HTTP/1.1\r\n${HOST}\r\n`],
    ["no Host", 400, "GET / HTTP/1.1\r\n\r\n"],
    ["two Hosts", 400, `GET / HTTP/1.1\r\n${HOST}${HOST}\r\n`],
    ["two Hosts in HTTP/1.0", 400, `GET / HTTP/1.0\r\n${HOST}host: b\r\n\r\n`],
    ["a Host that is none", 400, "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"],
    ["two lengths", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: 1\r\nContent-Length: 2\r\n\r\n`],
    ["two equal lengths", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: 1\r\nContent-Length: 1\r\n\r\n`],
    ["a list of lengths", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: 1, 1\r\n\r\n`],
    ["a signed length", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: +1\r\n\r\n`],
    ["a negative length", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: -1\r\n\r\n`],
    ["a hexadecimal length", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: 0x1\r\n\r\n`],
    ["an empty length", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length:\r\n\r\n`],
    ["a huge length", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: 99999999999999999999\r\n\r\n`],
    ["a length and a coding", 400, `PUT / HTTP/1.1\r\n${HOST}Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ["two codings", 400, `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n`],
    ["gzip, chunked", 501, `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n`],
    ["identity", 501, `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: identity\r\n\r\n`],
    ["an obscured coding", 501, `PUT / HTTP/1.1\r\n${HOST}Transfer-Encoding: xchunked\r\n\r\n`],
    ["a coding in HTTP/1.0", 400, "PUT / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"],
    ["another expectation", 417, `PUT / HTTP/1.1\r\n${HOST}Expect: 200-ok\r\n\r\n`],
    ["empty lines first", 400, `\r\n\r\nGET / HTTP/1.1\r\n${HOST}\r\n`],
    ["a large head", 431, `GET / HTTP/1.1\r\n${HOST}X: ${"a".repeat(65536)}\r\n\r\n`],
    ["a head without an end", 431, `GET / HTTP/1.1\r\n${HOST}X: ${"a".repeat(70000)}`],
    ["a first line without an end", 431, "G".repeat(70000)],
    ["many headers", 431, `GET / HTTP/1.1\r\n${HOST}${"a:\r\n".repeat(600)}\r\n`],
  ];
  test.each(refused)("refused: %s (%d)", (_, status, text) => {
    expect(refusal(text)).toBe(status);
  });

  test("every control character is refused in a value, a name and a target", () => {
    for (let code = 0; code < 256; code++) {
      const sign = String.fromCharCode(code);
      const isText = (code >= 32 && code !== 127) || code === 9;
      expect(refusal(`GET / HTTP/1.1\r\n${HOST}a: b${sign}c\r\n\r\n`) === 0).toBe(isText);
      const isToken = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]$/.test(sign);
      if (code !== 58) expect(refusal(`GET / HTTP/1.1\r\n${HOST}a${sign}b: c\r\n\r\n`) === 0).toBe(isToken);
      expect(refusal(`GET /a${sign}b HTTP/1.1\r\n${HOST}\r\n`) === 0).toBe(isText && code !== 32 && code !== 9);
    }
  });

  test("a head of the largest size is taken", () => {
    const start = `GET / HTTP/1.1\r\n${HOST}X: `;
    const text = `${start}${"a".repeat(65536 - start.length - 4)}\r\n\r\n`;
    expect(text.length).toBe(65536);
    expect(refusal(text)).toBe(0);
    expect(refusal(text.replace("\r\n\r\n", "a\r\n\r\n"))).toBe(431);
  });

  test("however the bytes are cut, the outcome is the same", () => {
    const random = seededRandom(7);
    const text = `\r\nPOST /x HTTP/1.1\r\n${HOST}Content-Length: 3\r\nX-${"y".repeat(50)}: ${"z".repeat(300)}\r\n\r\nabc`;
    const whole = scan(text);
    for (let round = 0; round < 300; round++) {
      const most = round === 0 ? 1 : 1 + random.below(60);
      const { scanner, end } = scan(text, (left) => Math.min(left, 1 + random.below(most)));
      expect(end).toBe(text.length - 3);
      expect(scanner.fields).toEqual(whole.scanner.fields);
      expect(scanner.startLine).toBe("POST /x HTTP/1.1");
    }
    for (const [, status, bad] of refused) {
      let seen = 0;
      try {
        const { scanner, end } = scan(bad, (left) => Math.min(left, bad.length > 1000 ? 997 : 1));
        if (end >= 0) parseRequest(scanner);
      } catch (error) {
        seen = error instanceof HttpRefusal ? error.status : -1;
      }
      expect(seen).toBe(status);
    }
  });
});

describe("response heads", () => {
  const response = (text: string, method = "GET") => {
    const { scanner, end } = scan(text);
    expect(end).toBe(text.length);
    return parseResponse(scanner, method);
  };

  test("framing (RFC 9112, 6.3)", () => {
    const length = "Content-Length: 5\r\n";
    expect(response(`HTTP/1.1 200 OK then\r\n${length}\r\n`)).toEqual({
      head: { status: 200, reason: "OK then", headers: ["Content-Length", "5"] },
      framing: { kind: "length", lengthBytes: 5 },
      keepAlive: true,
    });
    expect(response(`HTTP/1.1 200 \r\n${length}\r\n`, "HEAD").framing.kind).toBe("none");
    for (const status of [100, 103, 204, 304]) {
      expect(response(`HTTP/1.1 ${status}\r\n${length}\r\n`).framing.kind).toBe("none");
    }
    expect(response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").framing.kind).toBe("chunked");
    expect(response("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").framing.kind).toBe("none");
    expect(response("HTTP/1.1 200 OK\r\n\r\n")).toMatchObject({ framing: { kind: "close" }, keepAlive: false });
    expect(response(`HTTP/1.0 200 OK\r\n${length}\r\n`).keepAlive).toBe(false);
    expect(response(`HTTP/1.1 200 OK\r\n${length}Connection: close\r\n\r\n`).keepAlive).toBe(false);
  });

  test.each([
    "HTTP/1.1 20 OK\r\n\r\n",
    "HTTP/1.1 2000 OK\r\n\r\n",
    "HTTP/1.1  200 OK\r\n\r\n",
    "HTTP/1.1 099 OK\r\n\r\n",
    "HTTP/2 200 OK\r\n\r\n",
    "HTTP/1.1 abc OK\r\n\r\n",
    "ICY 200 OK\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
  ])("refused: %j", (text) => {
    expect(() => response(text)).toThrow(HttpRefusal);
  });
});

describe("chunked bodies", () => {
  function decode(text: string, cut: (left: number) => number): { body: string; end: number } {
    const decoder = new ChunkedDecoder();
    const bytes = Buffer.from(text, "latin1");
    let body = "";
    for (let at = 0; at < bytes.length && !decoder.done; ) {
      const length = Math.min(bytes.length - at, cut(bytes.length - at));
      const piece = bytes.subarray(at, at + length);
      let local = 0;
      while (local < piece.length && !decoder.done) {
        body += decoder.step(piece, local)?.toString("latin1") ?? "";
        local = decoder.at;
      }
      at += local;
      if (decoder.done) return { body, end: at };
    }
    return { body, end: -1 };
  }

  test("whole, and cut anywhere", () => {
    const text = '5\r\nhello\r\n00a;ext;name=value;q="a\\"b;"\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\nGET';
    const random = seededRandom(11);
    for (let round = 0; round < 200; round++) {
      const cut = round === 0 ? () => 1e9 : round === 1 ? () => 1 : () => 1 + random.below(12);
      expect(decode(text, cut)).toEqual({ body: "hello0123456789", end: text.length - 3 });
    }
    expect(decode("0\r\n\r\n", () => 9)).toEqual({ body: "", end: 5 });
    expect(decode("5\r\nhel", () => 9)).toEqual({ body: "hel", end: -1 });
  });

  test.each([
    ["\r\n", "no size"],
    [" 5\r\nhello\r\n", "a blank before the size"],
    ["5 \r\nhello\r\n", "a blank behind the size"],
    ["+5\r\nhello\r\n", "a sign"],
    ["0x5\r\nhello\r\n", "a prefix"],
    ["-1\r\nhello\r\n", "a negative size"],
    ["5\nhello\r\n", "a bare LF"],
    ["5\r\rhello\r\n", "a bare CR"],
    ["5\r\nhelloX\r\n", "data longer than its size"],
    ["5\r\nhello\n0\r\n\r\n", "a bare LF behind the data"],
    ["5\r\nhello\r0\r\n\r\n", "a bare CR behind the data"],
    ["5;\r\nhello\r\n", "an empty extension"],
    ["5; a\r\nhello\r\n", "a blank in an extension"],
    ["5;a=\r\nhello\r\n", "an extension without a value"],
    ['5;a="b\n"\r\nhello\r\n', "a LF in a quoted extension"],
    ['5;a="b"c\r\nhello\r\n', "text behind a quoted extension"],
    ["fffffffffffffff\r\n", "a size beyond all bounds"],
    [`5;${"a".repeat(5000)}\r\nhello\r\n`, "a long extension"],
    ["0\r\nbad trailer\r\n\r\n", "a trailer that is no field"],
    ["0\r\n folded: x\r\n\r\n", "a folded trailer"],
    ["0\r\nA: b\n\r\n", "a bare LF in a trailer"],
    ["0\r\nContent-length: 5\r\n\r\n", "a length in a trailer"],
    ["0\r\nA: b\r\nCONNECTION: close\r\n\r\n", "a connection option in a trailer"],
    [`0\r\nA: ${"b".repeat(20_000)}\r\n\r\n`, "a long trailer"],
  ])("refused: %j (%s)", (text) => {
    expect(() => decode(text, () => 1e9)).toThrow(HttpRefusal);
    expect(() => decode(text, () => 7)).toThrow(HttpRefusal);
  });
});

describe("heads that are written", () => {
  const written = (lead: Lead): string => {
    const buffer = Buffer.alloc(leadBytes(lead) + 10);
    return buffer.toString("latin1", 0, writeLead(buffer, lead));
  };

  test("are as given, and as long as foretold", () => {
    const lead = { start: "HTTP/1.1 200 OK\r\n", headers: ["A", "b", "c!", "\xe9\t", "d", ""], tail: "E: f\r\n\r\n" };
    const text = "HTTP/1.1 200 OK\r\nA: b\r\nc!: \xe9\t\r\nd: \r\nE: f\r\n\r\n";
    expect(written(lead)).toBe(text);
    expect(leadBytes(lead)).toBe(text.length);
    expect(written(extendLead(lead, "5\r\n"))).toBe(`${text}5\r\n`);
    expect(written(extendLead(null, "5\r\n"))).toBe("5\r\n");
  });

  test.each([
    ["A", "b\r\nc: d"],
    ["A", "b\nc"],
    ["A:", "b"],
    ["", "b"],
    ["A", "\u0100"],
    ["A\r", "b"],
    ["A ", "b"],
    ["A", "\0"],
  ])("refused: %j: %j", (name, value) => {
    expect(() => written({ start: "", headers: [name, value], tail: "" })).toThrow(TypeError);
    expect(() => checkFields([name, value])).toThrow(TypeError);
  });
});
