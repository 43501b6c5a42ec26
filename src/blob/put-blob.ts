/** Put Blob, taken in: a small one's bytes stand in the journal's record, a large one's in a file of its own. */
import { limits } from "../base/limits.ts";
import type { Before } from "../engine/write-base.ts";
import { uploadBody } from "../engine/write-upload.ts";
import type { NewContent } from "../journal/types.ts";
import { refuseDirty } from "./respond.ts";
import { answerPut } from "./write-answer.ts";
import { withBody } from "./write-body.ts";
import { type Change, commit, demandsMet, lookBefore, type NotTaken, type Write } from "./write-commit.ts";
import { mismatch, type Sums, summing } from "./write-digests.ts";
import { bodyOfBytes, passWrite } from "./write-pass.ts";

/** Takes a Put Blob in and answers it. */
export async function putBlob(write: Write): Promise<void> {
  const before = lookBefore(write);
  const trouble = await demandsMet(write, before);
  if (trouble !== null) return notTaken(write, trouble);
  return write.asked.lengthBytes <= limits.journalInlineBytesMax ? putSmall(write, before) : putLarge(write, before);
}

/** Answers for a write that is not taken in, nothing of whose body was read. */
export async function notTaken(write: Write, trouble: NotTaken): Promise<void> {
  if (trouble.kind === "forward") return passWrite(write.placed, trouble.why);
  await refuseDirty(write.placed, trouble.error);
}

async function putSmall(write: Write, before: Promise<Before> | null): Promise<void> {
  const used = await withBody(write, async (bytes) => {
    // The lake's answer has both, and of so few bytes they cost nothing.
    const taking = summing(true, true);
    for (const digest of taking.digests) digest.add(bytes);
    const sums = taking.end();
    const wrong = mismatch(write.asked, sums);
    if (wrong !== null) return refuseDirty(write.placed, wrong);
    const committed = await commit(write, putOf(write, sums, { kind: "inline", bytes }), before);
    if (committed.kind === "written") return answerPut(write, committed.entry, sums);
    if (committed.kind === "forward") return passWrite(write.placed, committed.why, bodyOfBytes(bytes));
    return refuseDirty(write.placed, committed.error);
  });
  if (used === "no-room") await passWrite(write.placed, "write-memory");
}

async function putLarge(write: Write, before: Promise<Before> | null): Promise<void> {
  const { placed, asked, means } = write;
  const { front, exchange } = placed;
  // Only of small ones is a CRC64 taken unasked: it costs as much again as the MD5.
  const taking = summing(true, asked.crc64 !== null);
  let why: string | null = null;
  void before?.then(({ found }) => {
    if (found.kind === "forward") why = found.why;
  });
  const { lengthBytes } = asked;
  const uploaded = await uploadBody({
    context: front.engine,
    body: exchange.body,
    lengthBytes,
    buffers: means.buffers(write.name.account),
    digests: taking.digests,
    stopped: () => why !== null,
  });
  if (uploaded.kind === "refused") return passWrite(placed, `write-${uploaded.why}`);
  const { upload } = uploaded;
  if (upload.span === null) return passWrite(placed, why ?? "", upload.again()).finally(upload.giveBack);
  const sums = taking.end();
  const wrong = mismatch(asked, sums);
  if (wrong !== null) {
    upload.giveBack();
    return refuseDirty(write.placed, wrong);
  }
  const spans = [{ ...upload.span, blockId: "" }];
  // Where this rejects, the write may have been acknowledged: the file then stays.
  const committed = await commit(write, putOf(write, sums, { kind: "spans", spans }), before);
  if (committed.kind === "written") return answerPut(write, committed.entry, sums);
  if (committed.kind === "forward") {
    return passWrite(placed, committed.why, upload.again()).finally(upload.giveBack);
  }
  upload.giveBack();
  return refuseDirty(write.placed, committed.error);
}

/** The lake keeps the MD5 of what came in one piece, whether or not the client gave it. */
function putOf(write: Write, sums: Sums, content: NewContent): Change {
  const { asked } = write;
  const headers = sums.md5 === null ? asked.lakeHeaders : [...asked.lakeHeaders, "x-ms-blob-content-md5", sums.md5];
  const put = { sizeBytes: asked.lengthBytes, headers, contentMd5: sums.md5, contentCrc64: sums.crc64 };
  return { kind: "put", put, content };
}
