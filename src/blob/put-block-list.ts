/** Put Block List, taken in: the blocks staged here become the blob, without being copied. */
import { asForebayError } from "../base/errors.ts";
import type { Before } from "../engine/write-base.ts";
import type { NewContent, StagedBlock } from "../journal/types.ts";
import { parseBlockList } from "./block-list.ts";
import { notTaken } from "./put-blob.ts";
import { refuseDirty } from "./respond.ts";
import { answerPut } from "./write-answer.ts";
import { withBody } from "./write-body.ts";
import { type Change, type Committed, commit, demandsMet, lookBefore, type Write } from "./write-commit.ts";
import { mismatch, type Sums, summing } from "./write-digests.ts";
import { bodyOfBytes, passWrite } from "./write-pass.ts";

/** Takes a Put Block List in and answers it. One that needs blocks which are not staged here is the lake's. */
export async function putBlockList(write: Write): Promise<void> {
  const before = lookBefore(write);
  const trouble = await demandsMet(write, before);
  if (trouble !== null) return notTaken(write, trouble);
  const used = await withBody(write, async (bytes) => {
    const { md5, crc64 } = write.asked;
    // Of the list, not of the blob: the answer has the CRC64 where the client gave no MD5.
    const taking = summing(md5 !== null, md5 === null);
    for (const digest of taking.digests) digest.add(bytes);
    const sums: Sums = taking.end();
    const wrong = mismatch({ ...write.asked, crc64 }, sums);
    if (wrong !== null) return refuseDirty(write.placed, wrong);
    const committed = await commitList(write, bytes, before);
    if (committed.kind === "written") return answerPut(write, committed.entry, sums);
    if (committed.kind === "forward") return passWrite(write.placed, committed.why, bodyOfBytes(bytes));
    return refuseDirty(write.placed, committed.error);
  });
  if (used === "no-room") await passWrite(write.placed, "write-memory");
}

async function commitList(write: Write, bytes: Uint8Array, before: Promise<Before> | null): Promise<Committed> {
  const ids = parseBlockList(bytes);
  if (ids === null) return { kind: "forward", why: "block-list" };
  const { desk } = write.placed.front.engine;
  let staged: readonly StagedBlock[];
  try {
    staged = ids.length === 0 ? [] : await desk.blocks(write.name);
  } catch (error) {
    return { kind: "forward", why: `desk-${asForebayError(error).code}` };
  }
  const change = putOf(write, ids, staged);
  return change === null ? { kind: "forward", why: "block-missing" } : commit(write, change, before);
}

/** The put of the blocks named, or null when one of them is not here. */
function putOf(write: Write, ids: readonly string[], staged: readonly StagedBlock[]): Change | null {
  const { lakeHeaders, blobMd5 } = write.asked;
  const lengths = new Map(staged.map(({ blockId, span }) => [blockId, span.length]));
  let sizeBytes = 0;
  for (const id of ids) {
    const length = lengths.get(id);
    if (length === undefined) return null;
    sizeBytes += length;
  }
  const content: NewContent =
    ids.length === 0
      ? { kind: "inline", bytes: new Uint8Array(0) }
      : { kind: "spans", spans: ids.map((stagedBlock) => ({ stagedBlock })) };
  // Nobody checks it against the bytes: the lake does not, either.
  const headers = blobMd5 === null ? lakeHeaders : [...lakeHeaders, "x-ms-blob-content-md5", blobMd5];
  return { kind: "put", put: { sizeBytes, headers, contentMd5: null, contentCrc64: null }, content };
}
