/** What happened to the blobs that a judgement speaks of, in the order of time: for people who look for the reason. */
import { headerOf } from "../../src/http/types.ts";
import { changeOf, sideOf, type WriteEvidence } from "./write-evidence.ts";

const LINES_MAX = 80;

/** Lines about the blobs that `violations` name; nothing without violations. */
export function storyOf(evidence: WriteEvidence, violations: readonly string[]): string[] {
  const text = violations.slice(0, 6).join("\n");
  const names = new Set(evidence.changes.map(({ name }) => name).filter((name) => text.includes(name)));
  const lines: { readonly atMs: number; readonly line: string }[] = [];
  const add = (atMs: number, line: string): void => void lines.push({ atMs, line });
  for (const change of evidence.changes) {
    const { name, what, endedAtMs, outcome, etag, condition } = change;
    if (names.has(name))
      add(endedAtMs, `${what} ${outcome} ${etag ?? ""} ${condition === null ? "" : JSON.stringify(condition)}`);
  }
  for (const { name, by, before, after, atMs, ifMatch, ifNoneMatch, again } of evidence.commits) {
    if (!names.has(sideOf(name) ?? name)) continue;
    const say = (blob: typeof after): string =>
      blob === null ? "nothing" : `#${changeOf(blob.metadata)} ${blob.etag}`;
    const condition = ifMatch ?? ifNoneMatch ?? "no condition";
    add(
      atMs,
      `the lake, ${by}${again ? " again" : ""}: ${name} is ${say(after)} after ${say(before)}, with ${condition}`,
    );
  }
  for (const { name, change, endedAtMs, how, acknowledgedAtMs, seq, base } of evidence.ends) {
    if (!names.has(name)) continue;
    const since = `acknowledged at ${acknowledgedAtMs.toFixed(1)}, last on ${base}`;
    add(
      endedAtMs,
      `the journal: ${seq}, ${change === null ? `a deletion of ${name}` : `#${change}`}, is ${how}; ${since}`,
    );
  }
  for (const { name, what, received } of evidence.looks) {
    const seen = headerOf(received.headers, "x-ms-meta-w");
    if (names.has(name))
      add(received.headAtMs, `${what} #${seen ?? "nothing"} ${headerOf(received.headers, "etag") ?? ""}`);
  }
  lines.sort((a, b) => a.atMs - b.atMs);
  return lines.slice(0, LINES_MAX).map(({ atMs, line }) => `  ${atMs.toFixed(1).padStart(12)} ${line}`);
}
