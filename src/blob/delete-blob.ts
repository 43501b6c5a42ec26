/** Delete Blob, taken in: its readers see it gone at once, the lake hears of it in its turn. */
import { notTaken } from "./put-blob.ts";
import { answerDelete } from "./write-answer.ts";
import { commit, lookBefore, type Write } from "./write-commit.ts";

/** Takes a Delete Blob in and answers it. */
export async function deleteBlob(write: Write): Promise<void> {
  const committed = await commit(write, { kind: "delete" }, lookBefore(write));
  if (committed.kind === "written") return answerDelete(write);
  return notTaken(write, committed);
}
