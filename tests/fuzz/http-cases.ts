/** Streams of requests for the fuzzer: well-formed ones by a grammar, then damaged in ways that confuse parsers. */
import type { Random } from "../../src/base/random.ts";

const METHODS = ["GET", "PUT", "POST", "HEAD", "DELETE", "OPTIONS", "PATCH"];
const TARGETS = [
  "/",
  "/a/b",
  "//x",
  "/a%2Fb?c=d",
  "/\\..",
  "/x?comp=block&blockid=AA%3D%3D",
  "*",
  "http://h/p",
  "http://h?q",
  "/a#b",
];
const HEADERS = [
  "Accept: */*",
  "x-ms-version: 2025-01-05",
  "X-Ms-Meta-Foo!: b\tc",
  "Empty:",
  "A: \xe9\xff",
  "Connection: keep-alive",
  "Connection: close",
  "Connection: upgrade",
  "Upgrade: websocket",
  "Expect: 100-continue",
  "TE: trailers",
  "Trailer: A",
  "Content-Type: application/octet-stream",
];
const CODINGS = [
  "chunked",
  "Chunked",
  "chunked ",
  " chunked",
  "\tchunked",
  "identity",
  "gzip, chunked",
  "chunked, chunked",
  "chunked,",
  "xchunked",
  "chunked;a=b",
  '"chunked"',
  "\x0bchunked",
  "chunked\x00",
  "",
];
const LENGTHS = [
  "0",
  "3",
  "5",
  "05",
  "+5",
  "-5",
  "5 ",
  "5, 5",
  "5,6",
  "0x5",
  "5.0",
  "1e1",
  "",
  " ",
  "99999999999999999999",
  "18446744073709551621",
  "5\x00",
  "\xb25",
];
const SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: evil\r\n\r\n";
const SIZES = [
  "3",
  "03",
  "0000000003",
  "3;a",
  "3;a=b",
  '3;a="b;c"',
  "3 ",
  " 3",
  "3\t",
  "+3",
  "0x3",
  "-3",
  "3;",
  "3; a",
  "3;a=",
  "G",
  "",
  "3\x00",
  "fffffffffffffffff",
  "10000000000000003",
  "3\r",
  "3\n",
  "3;\n",
  '3;a="\n"',
];
const SIGNS = [
  "\r",
  "\n",
  "\r\n",
  "\r\n\r\n",
  "\0",
  " ",
  "\t",
  ":",
  ",",
  ";",
  "\x0b",
  "\x0c",
  "\x7f",
  "\x80",
  "\xff",
  "0",
  "a",
  "\x1f",
  "\r\r\n",
  "\n\r\n",
  " \r\n",
  "\r\n ",
  "\r\n\t",
];

function chunkedBody(random: Random, body: string): string {
  let text = "";
  for (let at = 0; at < body.length; ) {
    const length = 1 + random.below(body.length - at);
    const hex = length.toString(16);
    text += `${random.chance(0.3) ? hex.toUpperCase() : hex}${random.chance(0.1) ? ";a=b" : ""}\r\n${body.slice(at, at + length)}\r\n`;
    at += length;
  }
  if (random.chance(0.15)) text += `${random.pick(SIZES)}\r\nabc\r\n`;
  const trailer = random.chance(0.15) ? `${random.pick(HEADERS)}\r\n` : "";
  return `${text}${random.chance(0.1) ? random.pick(["00", "0;a", "0 ", "000000", "-0"]) : "0"}\r\n${trailer}\r\n`;
}

function request(random: Random, position: number): string {
  const method = random.pick(METHODS);
  const target = random.chance(0.2) ? random.pick(TARGETS) : `/r${position}`;
  const version = random.chance(0.9)
    ? "HTTP/1.1"
    : random.pick(["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "HTTP/0.9", "http/1.1", "HTTP/1.1 "]);
  const lines = [`${method} ${target} ${version}`];
  const fields = random.chance(0.97) ? ["Host: h"] : [];
  for (let count = random.below(4); count > 0; count--) fields.push(random.pick(HEADERS));
  const body = random.pick(["", "abc", "hello", SMUGGLED, "0\r\n\r\n", `5\r\nhello\r\n0\r\n\r\n${SMUGGLED}`]);
  let payload = "";
  const kind = random.below(10);
  if (kind < 3 && body !== "") {
    fields.push(`Content-Length: ${body.length}`);
    payload = body;
  } else if (kind < 6) {
    fields.push("Transfer-Encoding: chunked");
    payload = chunkedBody(random, body);
  } else if (kind === 6) {
    fields.push(`Content-Length: ${random.pick(LENGTHS)}`);
    payload = body;
  } else if (kind === 7) {
    fields.push(`Transfer-Encoding: ${random.pick(CODINGS)}`);
    payload = chunkedBody(random, body);
  } else if (kind === 8) {
    fields.push(`Transfer-Encoding: chunked`, `Content-Length: ${random.pick([...LENGTHS, String(body.length)])}`);
    payload = chunkedBody(random, body);
  }
  if (random.chance(0.05)) fields.push(random.pick(fields.length > 0 ? fields : HEADERS));
  for (const field of shuffled(random, fields)) lines.push(random.chance(0.03) ? twisted(random, field) : field);
  return `${lines.join("\r\n")}\r\n\r\n${payload}`;
}

function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const left = items.slice();
  const out: T[] = [];
  while (left.length > 0) out.push(...left.splice(random.below(left.length), 1));
  return out;
}

/** A header line as a lenient parser might still take it. */
function twisted(random: Random, field: string): string {
  const colon = field.indexOf(":");
  const [name, value] = [field.slice(0, colon), field.slice(colon + 1).trim()];
  return random.pick([
    `${name} : ${value}`,
    `${name}\t: ${value}`,
    ` ${name}: ${value}`,
    `${name}:${value}`,
    `${name}:\t ${value} \t`,
    `${name}:\r\n ${value}`,
    `${name}:\n${value}`,
    `${name}\r: ${value}`,
    `${name}\0: ${value}`,
    `${name}: ${value}\r`,
    `${name}: ${value}\rX: y`,
    `${name}: ${value}\nX: y`,
    `${name.toUpperCase()}: ${value.toUpperCase()}`,
    `${name.replace("-", "_")}: ${value}`,
    `${name}`,
    `: ${value}`,
    `X: y\r\r\n${name}: ${value}`,
    `\x0b${name}: ${value}`,
    `${name}\xa0: ${value}`,
  ]);
}

function damaged(random: Random, text: string): string {
  const at = random.below(text.length + 1);
  const to = Math.min(text.length, at + 1 + random.below(4));
  switch (random.below(7)) {
    case 0:
      return text.slice(0, at) + random.pick(SIGNS) + text.slice(at);
    case 1:
      return text.slice(0, at) + text.slice(to);
    case 2:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1);
    case 3: {
      // One line end, replaced.
      const end = text.indexOf("\r\n", at);
      return end < 0 ? text : text.slice(0, end) + random.pick(SIGNS) + text.slice(end + 2);
    }
    case 4:
      return text.slice(0, at);
    case 5:
      return text.slice(0, at) + text.slice(at, to) + text.slice(at);
    default: {
      // A stretch said twice: lines, heads, bodies.
      const from = random.below(text.length + 1);
      const until = Math.min(text.length, from + random.below(60));
      return text.slice(0, at) + text.slice(from, until) + text.slice(at);
    }
  }
}

/** One connection's bytes, a character a byte. */
export function httpCase(random: Random): string {
  let text = random.chance(0.03) ? random.pick(["\r\n", "\n", "\r\n\r\n", " "]) : "";
  const count = 1 + random.below(3);
  for (let position = 0; position < count; position++) text += request(random, position);
  if (random.chance(0.6)) {
    for (let rounds = 1 + random.below(3); rounds > 0; rounds--) text = damaged(random, text);
  }
  return text;
}
