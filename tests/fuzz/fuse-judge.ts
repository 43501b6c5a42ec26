/**
 * The FUSE thread under fire: requests as the kernel makes them, the same with bytes changed, cut or added, and plain
 * noise; a back that answers late, wrongly or not; time, evictions and changes in between. Whatever comes, nothing is
 * thrown; every request that wants an answer gets exactly one; every answer is whole.
 */
import { type Random, seededRandom } from "../../src/base/random.ts";
import type { Result, ToBack } from "../../src/mount/messages.ts";
import { opcodes } from "../../src/mount/protocol.ts";
import {
  entryOf,
  type FakeKernel,
  fakeKernel,
  named,
  namesOf,
  openedOf,
  readBody,
  releaseBody,
  requestBytes,
  words,
} from "../../src/mount/test-support.ts";
import type { Found, Listed } from "../../src/mount/types.ts";

const STEPS = 150;
const NAMES = ["a", "b", "c", "é", "dir", ".", "..", "x".repeat(255), "x".repeat(256), "a b"];
const ALL_OPCODES: readonly number[] = [
  ...Object.values(opcodes).filter((opcode) => opcode !== opcodes.DESTROY),
  // Not known, and beyond what is.
  3_000,
  0xffff_ffff,
];
const UNANSWERED: ReadonlySet<number> = new Set([opcodes.FORGET, opcodes.BATCH_FORGET, opcodes.INTERRUPT]);

export interface FuseFailure {
  readonly case: number;
  readonly why: string;
}

export interface FuseOutcome {
  readonly passed: number;
  readonly requests: number;
  /** Requests that were answered without an error. */
  readonly good: number;
  readonly failures: readonly FuseFailure[];
}

interface Scene {
  readonly random: Random;
  readonly kernel: FakeKernel;
  /** What the kernel was told of. */
  readonly nodes: number[];
  readonly handles: number[];
  /** Requests that want an answer. */
  readonly sent: Map<number, number>;
  readonly numbers: Set<number>;
  readonly waiting: (ToBack & { readonly call: number })[];
  seen: number;
  heard: number;
  unique: number;
}

/** Runs `cases` cases that follow from `seed`; stops at the fifth failure. */
export function fuzzFuse(seed: number, cases: number): FuseOutcome {
  const failures: FuseFailure[] = [];
  const totals = { passed: 0, requests: 0, good: 0 };
  for (let index = 0; index < cases && failures.length < 5; index++) {
    try {
      const scene = play(seededRandom(seed + index * 7919));
      totals.requests += scene.sent.size;
      totals.good += scene.kernel.answers.filter(({ errno }) => errno === 0).length;
      totals.passed++;
    } catch (error) {
      failures.push({ case: index, why: error instanceof Error ? (error.stack ?? error.message) : String(error) });
    }
  }
  return { ...totals, failures };
}

function play(random: Random): Scene {
  const kernel = fakeKernel({ passthrough: random.below(4) !== 0 });
  const scene: Scene = {
    random,
    kernel,
    nodes: [1],
    handles: [0, 1],
    sent: new Map(),
    numbers: new Set(),
    waiting: [],
    seen: 0,
    heard: 0,
    unique: 1_000_000,
  };
  if (random.below(20) !== 0) kernel.agree();
  for (let step = 0; step < STEPS; step++) {
    if (random.below(3) === 0) disturb(scene);
    else if (sendOne(scene) === "ended") break;
    look(scene);
  }
  for (const waiting of scene.waiting.splice(0)) answerOne(scene, waiting);
  look(scene);
  // The rest of what was asked meanwhile.
  for (let round = 0; round < 50 && scene.waiting.length > 0; round++) {
    for (const waiting of scene.waiting.splice(0)) {
      kernel.front.hear({ kind: "failed", call: waiting.call, errno: 5 });
    }
    look(scene);
  }
  judge(scene);
  return scene;
}

function sendOne(scene: Scene): "on" | "ended" {
  const { random, kernel } = scene;
  const opcode = random.below(3) === 0 ? pick(random, ALL_OPCODES) : pick(random, USUAL);
  scene.unique += 2;
  let bytes = requestBytes(opcode, scene.unique, nodeOf(scene), bodyOf(scene, opcode));
  const kind = random.below(8);
  if (kind === 0) bytes = changed(random, bytes);
  else if (kind === 1) bytes = resized(random, bytes);
  else if (kind === 2 && random.below(40) === 0) bytes = Buffer.from(random.fill(new Uint8Array(random.below(200))));
  const isWhole = bytes.length >= 40 && bytes.readUInt32LE(0) === bytes.length;
  const sentOpcode = isWhole ? bytes.readUInt32LE(4) : 0;
  const sentUnique = isWhole ? Number(bytes.readBigUInt64LE(8)) : 0;
  // The kernel never gives two requests one number.
  if (isWhole && scene.numbers.has(sentUnique)) return "on";
  if (isWhole) scene.numbers.add(sentUnique);
  if (isWhole && !UNANSWERED.has(sentOpcode)) scene.sent.set(sentUnique, sentOpcode);
  return kernel.sendRaw(bytes);
}

const USUAL = [
  opcodes.LOOKUP,
  opcodes.LOOKUP,
  opcodes.OPEN,
  opcodes.OPEN,
  opcodes.READ,
  opcodes.RELEASE,
  opcodes.OPENDIR,
  opcodes.READDIRPLUS,
  opcodes.READDIR,
  opcodes.FORGET,
  opcodes.GETATTR,
  opcodes.GETXATTR,
];

const pick = <T>(random: Random, items: readonly T[]): T => items[random.below(items.length)] as T;

function nodeOf({ random, nodes }: Scene): number {
  if (random.below(12) === 0) return random.below(1_000) + (random.below(3) === 0 ? 2 ** 32 : 0);
  return pick(random, nodes);
}

function bodyOf(scene: Scene, opcode: number): Buffer {
  const { random, handles } = scene;
  const handle = random.below(8) === 0 ? random.below(100) : pick(random, handles);
  switch (opcode) {
    case opcodes.LOOKUP:
      return named(pick(random, NAMES));
    case opcodes.GETXATTR:
      return named(pick(random, ["user.forebay.etag", "security.selinux"]), words(random.below(300), 0));
    case opcodes.READ:
    case opcodes.READDIR:
    case opcodes.READDIRPLUS:
      return readBody(handle, pick(random, [0, 1, 2, 3, 7, 99, 2 ** 40]), pick(random, [0, 50, 300, 4096, 1 << 20]));
    case opcodes.RELEASE:
    case opcodes.RELEASEDIR:
      return releaseBody(handle);
    case opcodes.FORGET:
      return words(random.below(3), 0);
    case opcodes.BATCH_FORGET:
      return words(2, 0, nodeOf(scene), 0, 1, 0, nodeOf(scene), 0, 1, 0);
    default:
      return Buffer.alloc(pick(random, [0, 8, 16, 24, 64]));
  }
}

function changed(random: Random, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes);
  // Seldom the length: with that the session ends.
  const from = random.below(20) === 0 ? 0 : 4;
  for (let n = random.below(4) + 1; n > 0; n--) copy[from + random.below(copy.length - from)] = random.below(256);
  return copy;
}

/** Cut or drawn out, its length said rightly most of the time. */
function resized(random: Random, bytes: Buffer): Buffer {
  const length = Math.max(random.below(30) === 0 ? 1 : 40, bytes.length + random.below(40) - 30);
  const copy = Buffer.alloc(length, 65);
  bytes.copy(copy);
  if (length >= 40 && random.below(30) !== 0) copy.writeUInt32LE(length, 0);
  return copy;
}

/** Something else than a request happens. */
function disturb(scene: Scene): void {
  const { random, kernel } = scene;
  const { front } = kernel;
  switch (random.below(9)) {
    case 0:
      kernel.nowMs += random.below(200);
      break;
    case 1:
      front.hear({ kind: "evicted", number: random.below(5), fileIds: [random.below(6) + 1] });
      break;
    case 2:
      front.sweep();
      break;
    case 3:
      if (random.below(10) === 0) front.hear({ kind: "forget-all" });
      break;
    case 4:
      kernel.counters[random.below(4)] = random.below(1000);
      break;
    case 5:
      kernel.openErrno = random.below(3) === 0 ? 2 : 0;
      kernel.fileBytes = random.below(5) === 0 ? 99 : 100;
      break;
    default: {
      const waiting = scene.waiting.splice(random.below(scene.waiting.length + 1), 1)[0];
      if (waiting !== undefined) answerOne(scene, waiting);
    }
  }
}

function foundOf({ random, kernel }: Scene): Found {
  const freshUntilMs = kernel.nowMs + pick(random, [0, 100, 10_000, Number.POSITIVE_INFINITY]);
  if (random.below(4) === 0) return { kind: "folder", freshUntilMs };
  const slot = random.below(4);
  const stamp = { slot, sum: (kernel.counters[slot] ?? 0) >>> 0 };
  const sizeBytes = pick(random, [100, 100, 0]);
  return { kind: "file", sizeBytes, etag: `e${random.below(3)}`, mtimeMs: 1, freshUntilMs, stamp };
}

function answerOne(scene: Scene, { kind, call }: ToBack & { readonly call: number }): void {
  const { random, kernel } = scene;
  const result = (): Result => {
    const asked = random.below(15) === 0 ? "list" : kind;
    switch (asked) {
      case "look-up":
        return { kind: "found", found: random.below(6) === 0 ? null : foundOf(scene) };
      case "list": {
        const entries = NAMES.slice(random.below(4)).map((name): Listed => ({ name, ...foundOf(scene) }));
        return { kind: "listed", page: { entries, next: random.below(3) === 0 ? "on" : null } };
      }
      case "open": {
        const found = foundOf(scene);
        if (found.kind === "folder") return { kind: "opened", opened: null };
        const fileId = random.below(6) + 1;
        const isWhole = random.below(2) === 0 && found.sizeBytes > 0;
        const backing = isWhole ? { fileId, versionId: fileId } : null;
        return { kind: "opened", opened: { ...found, backing, remote: isWhole ? null : random.below(100) } };
      }
      default:
        return { kind: "attributes", attributes: random.below(4) === 0 ? null : [["user.forebay.etag", "e"]] };
    }
  };
  if (random.below(10) === 0) kernel.front.hear({ kind: "failed", call, errno: 110 });
  else kernel.front.hear({ kind: "answer", call, result: result() });
}

/** Takes in what was answered and asked since. */
function look(scene: Scene): void {
  const { kernel } = scene;
  for (; scene.heard < kernel.told.length; scene.heard++) {
    const message = kernel.told[scene.heard] as ToBack;
    if (message.kind === "interrupt" || !("call" in message)) continue;
    // A read is answered by the back itself.
    if (message.kind === "read") scene.sent.delete(message.call);
    else scene.waiting.push(message);
  }
  for (; scene.seen < kernel.answers.length; scene.seen++) {
    const answer = kernel.answers[scene.seen];
    if (answer === undefined) continue;
    check(answer.saidLength === answer.length, "an answer says how long it is");
    check(answer.errno >= 0 && answer.errno < 512, `errno ${answer.errno} is one`);
    check(answer.errno === 0 || answer.body.length === 0, "an error has no body");
    if (answer.errno === 0) learn(scene, answer);
  }
}

function learn({ sent, nodes, handles }: Scene, answer: FakeKernel["answers"][number]): void {
  const opcode = sent.get(answer.unique);
  const { body } = answer;
  switch (opcode) {
    case opcodes.LOOKUP:
      check(body.length === 128, "an entry has 128 bytes");
      nodes.push(entryOf(body).nodeId);
      break;
    case opcodes.OPEN:
    case opcodes.OPENDIR:
      check(body.length === 16, "an open has 16 bytes");
      handles.push(openedOf(answer).handle);
      break;
    case opcodes.READDIR:
      namesOf(body, false);
      break;
    case opcodes.READDIRPLUS:
      for (const { name, nodeId } of namesOf(body, true)) {
        check(nodeId !== 0 || name === "." || name === "..", "a name has a node");
        if (nodeId !== 0) nodes.push(nodeId);
      }
      break;
  }
}

function judge({ kernel, sent }: Scene): void {
  const counts = new Map<number, number>();
  for (const { unique } of kernel.answers) counts.set(unique, (counts.get(unique) ?? 0) + 1);
  const duplicates = [...counts].filter(([unique, count]) => count > 1 && sent.has(unique));
  check(duplicates.length === 0, `requests answered twice: ${JSON.stringify(duplicates)}`);
  const missing = [...sent].filter(([unique]) => !counts.has(unique));
  check(missing.length === 0, `requests never answered (number, opcode): ${JSON.stringify(missing)}`);
  const { waiting, bytes } = kernel.front.held;
  check(waiting === 0, "nothing waits");
  check(bytes < 1 << 22, "the table stays small");
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}
