/** INIT: what the kernel and a mount agree upon. */
import { mountBounds } from "./bounds.ts";
import {
  errnos,
  initFlags,
  initFlags2,
  PASSTHROUGH_MINOR_MIN,
  PROTOCOL_MINOR,
  PROTOCOL_MINOR_MIN,
  sizes,
} from "./protocol.ts";
import { answer, askerOf, fail, type Session } from "./session.ts";

const MAJOR = 7;
const WANTED =
  initFlags.ASYNC_READ |
  initFlags.BIG_WRITES |
  initFlags.DO_READDIRPLUS |
  initFlags.READDIRPLUS_AUTO |
  initFlags.ASYNC_DIO |
  initFlags.PARALLEL_DIROPS |
  initFlags.MAX_PAGES |
  initFlags.EXPLICIT_INVAL_DATA |
  initFlags.INIT_EXT;

/** Answers INIT. False: the kernel speaks a protocol that cannot be spoken with. */
export function agree(session: Session): boolean {
  const { request, reply, tell } = session;
  const asker = askerOf(session);
  const major = request.word(0);
  const minor = request.word(4);
  if (major !== MAJOR || minor < PROTOCOL_MINOR_MIN) {
    fail(session, asker, errnos.EPROTO);
    tell({ kind: "ended", why: `the kernel speaks FUSE ${major}.${minor}; ${MAJOR}.${PROTOCOL_MINOR_MIN} is needed` });
    return false;
  }
  const offered = request.word(12);
  const isExtended = (offered & initFlags.INIT_EXT) !== 0 && request.length >= sizes.inHeader + 20;
  const offered2 = isExtended ? request.word(16) : 0;
  const canPass = (offered2 & initFlags2.PASSTHROUGH) !== 0 && minor >= PASSTHROUGH_MINOR_MIN;
  const wantsPass = session.init.passthrough;
  const flags2 =
    offered2 &
    ((wantsPass && canPass ? initFlags2.PASSTHROUGH : 0) | initFlags2.HAS_EXPIRE_ONLY | initFlags2.REQUEST_TIMEOUT);
  reply.clear(0, sizes.initOut);
  reply.word(0, MAJOR);
  reply.word(4, Math.min(minor, PROTOCOL_MINOR));
  reply.word(8, mountBounds.readBytesMax);
  reply.word(12, (WANTED & offered) >>> 0);
  reply.half(16, mountBounds.backgroundRequestsMax);
  reply.half(18, Math.floor((mountBounds.backgroundRequestsMax * 3) / 4));
  reply.word(20, mountBounds.writeBytesMax);
  reply.word(24, 1);
  reply.half(28, mountBounds.readBytesMax / 4096);
  reply.word(32, flags2);
  reply.word(36, (flags2 & initFlags2.PASSTHROUGH) === 0 ? 0 : 1);
  reply.half(40, (flags2 & initFlags2.REQUEST_TIMEOUT) === 0 ? 0 : mountBounds.kernelTimeoutSeconds);
  answer(session, asker, sizes.initOut);
  const why = wantsPass ? whyNot(session, canPass) : "switched off";
  session.mode = why === null ? "passthrough" : "copying";
  tell({ kind: "ready", mode: session.mode, minor, why });
  return true;
}

/** Why the kernel may not read cache files by itself; null when it may. */
function whyNot({ kernel }: Session, canPass: boolean): string | null {
  if (!canPass) return "the kernel has no FUSE passthrough (Linux 6.9 and later have it)";
  // Asked with a descriptor that is none: only whether it is permitted is of interest.
  const permitted = kernel.openBacking(-1);
  return permitted === -errnos.EPERM ? "this process lacks CAP_SYS_ADMIN" : null;
}
