/** What is said when the Blob endpoint's address cannot be had. */
import { asForebayError, ForebayError } from "../base/errors.ts";

export function cannotListen(host: string, port: number, cause: unknown): ForebayError {
  const what = `cannot listen at ${host}:${port} (${asForebayError(cause).message})`;
  const remedy = "is another Forebay running? choose another --listen HOST:PORT";
  return new ForebayError("config", `${what}; ${remedy}`, { cause });
}
