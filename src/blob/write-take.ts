/**
 * Writes of paths with `write: back`: screened, their caller judged, and then taken in, so that they are acknowledged
 * when they are durable on flash; all others are passed on to the lake.
 */
import { type Policy, resolvePolicy } from "../engine/policy.ts";
import { deleteBlob } from "./delete-blob.ts";
import { putBlob } from "./put-blob.ts";
import { putBlock } from "./put-block.ts";
import { putBlockList } from "./put-block-list.ts";
import { type Placed, refuse } from "./respond.ts";
import type { Write } from "./write-commit.ts";
import { judgeWriter } from "./write-judge.ts";
import type { WriteMeans } from "./write-means.ts";
import { passWrite } from "./write-pass.ts";
import { screenWrite, type WriteOperation } from "./write-screen.ts";

const RUN: Readonly<Record<WriteOperation, (write: Write) => Promise<void>>> = {
  PutBlob: putBlob,
  PutBlock: putBlock,
  PutBlockList: putBlockList,
  DeleteBlob: deleteBlob,
};

/** Answers a change of a blob where writes are taken in; null where they are not: the request is untouched. */
export function takeWrite(placed: Placed, means: WriteMeans): void | Promise<void> | null {
  const { front, target, operation, exchange } = placed;
  const { account, container, blob } = target;
  if (operation.effect !== "change" || container === null || blob === null) return null;
  const policy = resolvePolicy(front.policies(), account, container, blob);
  if (policy.write !== "back") return null;
  const screened = screenWrite(placed, policy.exclusive);
  if (screened.kind === "forward") return passWrite(placed, screened.why);
  const writer = judgeWriter(placed);
  if (writer.kind === "forward") return passWrite(placed, writer.why);
  if (writer.kind === "refuse") return refuse(front, exchange, placed.startedAtMs, writer.error);
  const { asked } = screened;
  const name = { account, container, blob };
  const write = { placed, means, asked, policy, path: pathOf(policy), name, mayReplace: writer.mayReplace };
  return RUN[asked.operation](write);
}

/** A policy that is not the default is a rule, and has a path. */
function pathOf(policy: Policy): string {
  return "path" in policy && typeof policy.path === "string" ? policy.path : "";
}
