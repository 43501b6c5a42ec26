// What the parser of Node's HTTP server makes of a stream of bytes. Reads one case a line (base64) from stdin; writes
// one line of JSON for each: the requests that were complete, in order, whether it stopped at an upgrade, and its error. The parser is
// used directly, because the server drops requests that stand before a fault in the same packet.
import { createRequire } from "node:module";
import { createInterface } from "node:readline";

const { HTTPParser, methods } = createRequire(import.meta.url)("_http_common");

function judge(bytes) {
  const requests = [];
  let current = null;
  let url = "";
  const parser = new HTTPParser();
  parser.initialize(HTTPParser.REQUEST, {});
  parser[HTTPParser.kOnMessageBegin | 0] = () => {
    current = null;
    url = "";
  };
  // Called when a head has very many fields: they come in parts, the URL with the first.
  parser[HTTPParser.kOnHeaders | 0] = (_headers, part) => {
    url += part;
  };
  parser[HTTPParser.kOnHeadersComplete | 0] = (_major, _minor, _headers, method, whole) => {
    current = { method: methods[method], target: Buffer.from(whole ?? url, "latin1").toString("base64"), body: [] };
    return 0;
  };
  parser[HTTPParser.kOnBody | 0] = (chunk) => {
    current.body.push(Buffer.from(chunk));
  };
  parser[HTTPParser.kOnMessageComplete | 0] = () => {
    if (current === null) return;
    requests.push({ ...current, body: Buffer.concat(current.body).toString("base64") });
    current = null;
  };
  let outcome = parser.execute(bytes);
  // After an upgrade it takes what follows for another protocol.
  const upgraded = typeof outcome === "number" && outcome < bytes.length;
  if (!(outcome instanceof Error)) outcome = parser.finish();
  return { requests, upgraded, error: outcome instanceof Error ? outcome.code : null };
}

process.stdout.write(`${JSON.stringify(methods)}\n`);
for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(judge(Buffer.from(line, "base64")))}\n`);
}
