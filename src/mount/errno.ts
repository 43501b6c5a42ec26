/** What a failed call of a mount is called by the kernel: the one table. */
import { asForebayError, type ErrorCode } from "../base/errors.ts";
import { errnos } from "./protocol.ts";

const ERRNOS: Readonly<Record<ErrorCode, number>> = {
  config: errnos.EIO,
  usage: errnos.EINVAL,
  "http-malformed": errnos.EIO,
  "http-too-large": errnos.EIO,
  timeout: errnos.ETIMEDOUT,
  // Not EAGAIN: programs take that of a file for something to wait for with poll(2).
  overloaded: errnos.EIO,
  "lake-unreachable": errnos.EIO,
  "lake-lost": errnos.EIO,
  // The lake will not let us: a credential without the right, a blob in the archive.
  "lake-refused": errnos.EACCES,
  // The version that was opened is no more.
  "lake-changed": errnos.ESTALE,
  "lake-corrupt": errnos.EIO,
  "flash-failed": errnos.EIO,
  "flash-full": errnos.EIO,
  gone: errnos.ESTALE,
  void: errnos.ESTALE,
  cancelled: errnos.EINTR,
  closed: errnos.EIO,
  internal: errnos.EIO,
};

/** The errno that a program sees. */
export function errnoOf(error: unknown): number {
  return ERRNOS[asForebayError(error).code];
}
