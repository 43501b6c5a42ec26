/** Put Block, taken in: each block in a file of its own, of which a later Put Block List makes the blob. */
import { assert } from "../base/assert.ts";
import { uploadBody } from "../engine/write-upload.ts";
import { refuseDirty } from "./respond.ts";
import { answerBlock } from "./write-answer.ts";
import type { Write } from "./write-commit.ts";
import { mismatch, summing } from "./write-digests.ts";
import { passWrite } from "./write-pass.ts";

/** Takes a Put Block in and answers it. The lake is not asked: it is when the list is committed. */
export async function putBlock(write: Write): Promise<void> {
  const { placed, asked, means, name } = write;
  const { front, exchange } = placed;
  const { desk, holder } = front.engine;
  // Both cost more than all the rest: they are taken where the client wants to know.
  const taking = summing(asked.md5 !== null, asked.crc64 !== null);
  const uploaded = await uploadBody({
    context: front.engine,
    body: exchange.body,
    lengthBytes: asked.lengthBytes,
    buffers: means.buffers(name.account),
    digests: taking.digests,
    stopped: () => false,
  });
  if (uploaded.kind === "refused") return passWrite(placed, `write-${uploaded.why}`);
  const { upload } = uploaded;
  assert(upload.span !== null, "a block that nobody stopped is there whole");
  const sums = taking.end();
  const wrong = mismatch(asked, sums);
  if (wrong !== null) {
    upload.giveBack();
    return refuseDirty(placed, wrong);
  }
  // Where this rejects, the block may be the journal's: the file then stays.
  const staged = await desk.stage(holder, { name, blockId: asked.blockId, span: upload.span });
  if (staged.kind === "staged") return answerBlock(write, sums);
  return passWrite(placed, `write-${staged.why}`, upload.again()).finally(upload.giveBack);
}
