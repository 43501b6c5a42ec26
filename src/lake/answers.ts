/** Reading the lake's small answers whole: error codes and XML documents. */
import { ForebayError } from "../base/errors.ts";
import { limits } from "../base/limits.ts";
import { type BodyReader, type ClientResponse, headerOf } from "../http/types.ts";

/** The body as text, at most `bytesMax` of it; beyond that it rejects with `lake-corrupt` and lets go of the rest. */
export async function readText(body: BodyReader, bytesMax: number = limits.lakeSmallBodyBytesMax): Promise<string> {
  const chunks: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    const chunk = await body.read();
    if (chunk === null) break;
    total += chunk.length;
    if (total > bytesMax) {
      body.cancel();
      throw new ForebayError("lake-corrupt", `an answer of the lake is longer than ${bytesMax} bytes`);
    }
    chunks.push(chunk);
  }
  return new TextDecoder().decode(Buffer.concat(chunks));
}

/** The service's name for an error: the header, or for answers that lack it the body's `<Code>`. */
export function errorCodeOf(response: ClientResponse, text = ""): string | undefined {
  return headerOf(response.head.headers, "x-ms-error-code") ?? /<Code>([A-Za-z0-9]{1,64})<\/Code>/.exec(text)?.[1];
}
