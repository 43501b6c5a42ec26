/** Bytes that are no acceptable request, and the exact answer to each. */

/** One row: bytes as Latin-1; `HOST`, `ACCOUNT` and `TARGET` (a readable blob, with a SAS) are put in. */
export interface HttpRow {
  readonly name: string;
  readonly bytes: string;
  /** The text comes alone: what is no request is answered by no service. */
  readonly answer: { readonly status: number; readonly message: string };
}

const get = (extra: string, line = "GET TARGET HTTP/1.1"): string => `${line}\r\nHost: HOST\r\n${extra}\r\n`;
const put = (extra: string, body = ""): string =>
  `PUT TARGET HTTP/1.1\r\nHost: HOST\r\nx-ms-blob-type: BlockBlob\r\n${extra}\r\n${body}`;

/** Requests that the codec refuses before anything else looks at them; each is answered and the connection closed. */
export const httpRows: readonly HttpRow[] = [
  {
    name: "no request line",
    bytes: ":\r\n\r\n",
    answer: { status: 400, message: "The request line does not begin with a method and one space." },
  },
  {
    name: "two spaces after the method",
    bytes: get("", "GET  TARGET HTTP/1.1"),
    answer: {
      status: 400,
      message: "The request line is not a method, a target and a version with one space between.",
    },
  },
  {
    name: "a tab in the request line",
    bytes: get("", "GET\tTARGET HTTP/1.1"),
    answer: { status: 400, message: "The request line does not begin with a method and one space." },
  },
  {
    name: "no target",
    bytes: get("", "GET HTTP/1.1"),
    answer: {
      status: 400,
      message: "The request line is not a method, a target and a version with one space between.",
    },
  },
  {
    name: "no version",
    bytes: get("", "GET TARGET"),
    answer: {
      status: 400,
      message: "The request line is not a method, a target and a version with one space between.",
    },
  },
  {
    name: "four parts",
    bytes: get("", "GET TARGET more HTTP/1.1"),
    answer: { status: 400, message: "The request line does not end with a version of HTTP." },
  },
  {
    name: "HTTP/2.0",
    bytes: get("", "GET TARGET HTTP/2.0"),
    answer: { status: 505, message: "Only HTTP/1.1 and HTTP/1.0 are spoken." },
  },
  {
    name: "HTTP/1.2",
    bytes: get("", "GET TARGET HTTP/1.2"),
    answer: { status: 505, message: "Only HTTP/1.1 and HTTP/1.0 are spoken." },
  },
  {
    name: "http/1.1 in lower case",
    bytes: get("", "GET TARGET http/1.1"),
    answer: { status: 400, message: "The request line does not end with a version of HTTP." },
  },
  {
    name: "a method with a colon",
    bytes: get("", "GE:T TARGET HTTP/1.1"),
    answer: { status: 400, message: "The request line does not begin with a method and one space." },
  },
  {
    name: "CONNECT",
    bytes: get("", "CONNECT HOST HTTP/1.1"),
    answer: { status: 501, message: "CONNECT is not served." },
  },
  {
    name: "a relative target",
    bytes: get("", "GET container/blob HTTP/1.1"),
    answer: { status: 400, message: "The request target is neither a path nor an http URL." },
  },
  {
    name: "an ftp target",
    bytes: get("", "GET ftp://HOST/x HTTP/1.1"),
    answer: { status: 400, message: "The request target is neither a path nor an http URL." },
  },
  {
    name: "an absolute target without a host",
    bytes: get("", "GET http:///x HTTP/1.1"),
    answer: { status: 400, message: "The request target has no host." },
  },
  {
    name: "a control character in the target",
    bytes: get("", "GET /a\u0001b HTTP/1.1"),
    answer: { status: 400, message: "The first line holds a character that is not allowed there." },
  },
  {
    name: "DEL in the target",
    bytes: get("", "GET /a\u007fb HTTP/1.1"),
    answer: { status: 400, message: "The first line holds a character that is not allowed there." },
  },
  {
    name: "two empty lines before the request",
    bytes: `\r\n\r\n${get("")}`,
    answer: { status: 400, message: "The message begins with empty lines." },
  },
  {
    name: "no Host",
    bytes: "GET TARGET HTTP/1.1\r\nX-A: 1\r\n\r\n",
    answer: { status: 400, message: "The Host header is missing." },
  },
  {
    name: "two Hosts",
    bytes: get("Host: HOST\r\n"),
    answer: { status: 400, message: "The Host header is given twice." },
  },
  {
    name: "a Host with a slash",
    bytes: "GET TARGET HTTP/1.1\r\nHost: a/b\r\n\r\n",
    answer: { status: 400, message: "The host is not a valid one." },
  },
  {
    name: "a Host with white space",
    bytes: "GET TARGET HTTP/1.1\r\nHost: a b\r\n\r\n",
    answer: { status: 400, message: "The host is not a valid one." },
  },
  {
    name: "white space before a colon",
    bytes: get("X-A : 1\r\n"),
    answer: { status: 400, message: "White space stands in a header name or before its colon." },
  },
  {
    name: "a header without a name",
    bytes: get(": 1\r\n"),
    answer: { status: 400, message: "A header line has no name." },
  },
  {
    name: "a header without a colon",
    bytes: get("X-A\r\n"),
    answer: { status: 400, message: "A bare carriage return stands in the header name." },
  },
  {
    name: "a folded header",
    bytes: get("X-A: 1\r\n 2\r\n"),
    answer: { status: 400, message: "A header line is folded." },
  },
  {
    name: "a bare line feed after a header",
    bytes: get("X-A: 1\n"),
    answer: { status: 400, message: "A bare line feed stands in the header value." },
  },
  {
    name: "a bare line feed after the request line",
    bytes: "GET / HTTP/1.1\nHost: h\r\n\r\n",
    answer: { status: 400, message: "A bare line feed stands in the first line." },
  },
  {
    name: "a bare carriage return in a value",
    bytes: get("X-A: 1\r2\r\n"),
    answer: { status: 400, message: "A bare carriage return stands in the header value." },
  },
  {
    name: "NUL in a value",
    bytes: get("X-A: 1\u00002\r\n"),
    answer: { status: 400, message: "The header value holds a character that is not allowed there." },
  },
  {
    name: "parentheses in a name",
    bytes: get("X(A): 1\r\n"),
    answer: { status: 400, message: "The header name holds a character that is not allowed there." },
  },
  {
    name: "a head beyond 64 KiB",
    bytes: get(`X-A: ${"x".repeat(70_000)}\r\n`),
    answer: { status: 431, message: "The head is larger than 65536 bytes." },
  },
  {
    name: "a target beyond 64 KiB",
    bytes: get("", `GET /${"x".repeat(70_000)} HTTP/1.1`),
    answer: { status: 431, message: "The head is larger than 65536 bytes." },
  },
  {
    name: "more than 512 header fields",
    bytes: get(Array.from({ length: 600 }, (_, i) => `a${i}: 1\r\n`).join("")),
    answer: { status: 431, message: "There are more than 512 header fields." },
  },
  {
    name: "two equal lengths",
    bytes: put("Content-Length: 3\r\nContent-Length: 3\r\n", "abc"),
    answer: { status: 400, message: "Content-Length is given twice." },
  },
  {
    name: "two different lengths",
    bytes: put("Content-Length: 3\r\nContent-Length: 4\r\n", "abcd"),
    answer: { status: 400, message: "Content-Length is given twice." },
  },
  {
    name: "a list of lengths",
    bytes: put("Content-Length: 3, 3\r\n", "abc"),
    answer: { status: 400, message: "Content-Length is not a number of bytes." },
  },
  {
    name: "a negative length",
    bytes: put("Content-Length: -1\r\n"),
    answer: { status: 400, message: "Content-Length is not a number of bytes." },
  },
  {
    name: "a length with a plus",
    bytes: put("Content-Length: +3\r\n", "abc"),
    answer: { status: 400, message: "Content-Length is not a number of bytes." },
  },
  {
    name: "a hexadecimal length",
    bytes: put("Content-Length: 0x3\r\n", "abc"),
    answer: { status: 400, message: "Content-Length is not a number of bytes." },
  },
  {
    name: "an empty length",
    bytes: put("Content-Length:\r\n"),
    answer: { status: 400, message: "Content-Length is not a number of bytes." },
  },
  {
    name: "a length beyond all measure",
    bytes: put(`Content-Length: ${"9".repeat(30)}\r\n`),
    answer: { status: 400, message: "Content-Length is not a number of bytes." },
  },
  {
    name: "a length beside a transfer coding",
    bytes: put("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "3\r\nabc\r\n0\r\n\r\n"),
    answer: { status: 400, message: "Both Content-Length and Transfer-Encoding are given." },
  },
  {
    name: "an unknown transfer coding",
    bytes: put("Transfer-Encoding: gzip\r\n"),
    answer: { status: 501, message: "Only the transfer coding chunked is known." },
  },
  {
    name: "chunked twice",
    bytes: put("Transfer-Encoding: chunked, chunked\r\n"),
    answer: { status: 501, message: "Only the transfer coding chunked is known." },
  },
  {
    name: "chunked not last",
    bytes: put("Transfer-Encoding: chunked, gzip\r\n"),
    answer: { status: 501, message: "Only the transfer coding chunked is known." },
  },
  {
    name: "chunked in HTTP/1.0",
    bytes: "PUT TARGET HTTP/1.0\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    answer: { status: 400, message: "Transfer-Encoding does not exist in HTTP/1.0." },
  },
  {
    name: "an unknown expectation",
    bytes: put("Expect: more\r\nContent-Length: 1\r\n", "x"),
    answer: { status: 417, message: "Only the expectation 100-continue is known." },
  },
];

/** Bodies whose chunks are wrong: the request had begun to be served, so the answer is the service's kind of error. */
export const chunkRows: readonly (readonly [name: string, body: string, status?: number])[] = [
  ["no size", "\r\n"],
  ["not hexadecimal", "zz\r\nabc\r\n0\r\n\r\n"],
  ["a size with a sign", "-1\r\n"],
  ["a size with 0x", "0x3\r\nabc\r\n0\r\n\r\n"],
  ["a size beyond all measure", `${"f".repeat(20)}\r\n`, 413],
  ["data longer than its size", "3\r\nabcd\r\n0\r\n\r\n"],
  ["a bare line feed after the size", "3\nabc\r\n0\r\n\r\n"],
  ["a bare line feed after the data", "3\r\nabc\n0\r\n\r\n"],
  ["white space before the size", " 3\r\nabc\r\n0\r\n\r\n"],
  ["an endless extension", `3;${"x".repeat(5000)}\r\nabc\r\n0\r\n\r\n`, 413],
  ["a malformed trailer", "0\r\nbad trailer\r\n\r\n"],
];
