/** Letting go of answers that nobody needs, without losing their connections. */
import { limits } from "../base/limits.ts";
import type { BodyReader } from "../http/types.ts";

/**
 * Lets go of a body that nobody is reading. A small one is read out, so that its connection can be used again; of a
 * large one the connection is given up. Never fails.
 */
export function letGo(body: BodyReader): void {
  const { lengthBytes } = body;
  if (lengthBytes === null || lengthBytes === 0 || lengthBytes > limits.lakeReadOutBytesMax) body.cancel();
  else readOut(body).catch(() => body.cancel());
}

async function readOut(body: BodyReader): Promise<void> {
  let bytes = await body.read();
  while (bytes !== null) bytes = await body.read();
}
