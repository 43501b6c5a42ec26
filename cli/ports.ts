/** Which ports of this machine are free. */
import { createServer } from "node:net";
import { ForebayError } from "../src/base/errors.ts";
import { say } from "./output.ts";

const TRIES = 50;

/** Why nothing can listen there (`EADDRINUSE`, `EACCES`, …), or null when it can. */
export function portProblem(host: string, port: number): Promise<string | null> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once("error", (error: NodeJS.ErrnoException) => resolve(error.code ?? error.message));
    server.listen({ host, port, exclusive: true }, () => server.close(() => resolve(null)));
  });
}

/**
 * The port of a loopback listener: `asked` if it is free (else `usage`), or the first free one from `usual` on, and a
 * line that says so when it is another than the usual one. `taken` are ports promised to others already.
 */
export async function choosePort(
  flag: string,
  asked: string | undefined,
  usual: number,
  what: string,
  taken: readonly number[],
): Promise<number> {
  if (asked !== undefined) {
    const port = Number(asked);
    if (!/^\d+$/.test(asked) || port < 1 || port > 65_535) {
      throw new ForebayError("usage", `${flag}: "${asked}" is not a port; write a number from 1 to 65535`);
    }
    const problem = taken.includes(port) ? "EADDRINUSE" : await portProblem("127.0.0.1", port);
    if (problem === null) return port;
    const reason = problem === "EADDRINUSE" ? "is taken" : `cannot be used (${problem})`;
    throw new ForebayError("closed", `${flag}: port ${port} ${reason}; name another one, or leave ${flag} out`);
  }
  for (let port = usual; port < usual + TRIES; port++) {
    if (taken.includes(port) || (await portProblem("127.0.0.1", port)) !== null) continue;
    if (port !== usual) say(`port ${usual} is taken: ${what} uses ${port}`);
    return port;
  }
  throw new ForebayError("overloaded", `no free port for ${what} from ${usual} on; name one with ${flag}`);
}
