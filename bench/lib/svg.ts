/**
 * The rows of a run as a picture: a bar for each ratio on a logarithmic scale (twice as fast is as far from 1 as half
 * as fast), a line at 1, and a tick where the goal is. It takes its colours from the reader's light or dark setting.
 */
import { type BenchRow, goalText, shortNumber, verdictText } from "./rows.ts";

const WIDTH = 980;
const LABEL_WIDTH = 470;
const BAR_LEFT = LABEL_WIDTH + 10;
const BAR_WIDTH = 330;
const ROW_HEIGHT = 26;
const TOP = 64;
const BOTTOM = 34;
const LABEL_CHARACTERS_MAX = 74;
/** The smallest and largest ratio that the scale shows; what lies beyond ends there. */
const SCALE_MIN = 1 / 4;
const SCALE_MAX = 16;

const STYLE = `
  text { font: 12px system-ui, sans-serif; fill: #1f2328; }
  .title { font-size: 16px; font-weight: 600; }
  .faint { fill: #59636e; }
  .back { fill: #ffffff; }
  .grid { stroke: #d1d9e0; stroke-width: 1; }
  .one { stroke: #59636e; stroke-width: 1.5; }
  .goal { stroke: #1f2328; stroke-width: 2.5; }
  .met { fill: #1a7f37; } .missed { fill: #cf222e; } .said { fill: #6e7781; }
  @media (prefers-color-scheme: dark) {
    text { fill: #f0f6fc; }
    .faint { fill: #9198a1; }
    .back { fill: #0d1117; }
    .grid { stroke: #30363d; }
    .one { stroke: #9198a1; }
    .goal { stroke: #f0f6fc; }
    .met { fill: #3fb950; } .missed { fill: #f85149; } .said { fill: #9198a1; }
  }
`;

/** Text as XML may hold it: markup escaped, characters that XML forbids left out. */
export function escapeXml(text: string): string {
  return [...text]
    .filter((character) => {
      const code = character.codePointAt(0) ?? 0;
      const control = code < 0x20 && code !== 9 && code !== 10 && code !== 13;
      return !(control || (code >= 0xd800 && code <= 0xdfff) || code === 0xfffe || code === 0xffff);
    })
    .join("")
    .replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}

/** Where a ratio lies, in the picture's units. */
function x(ratio: number): number {
  const inside = Math.min(SCALE_MAX, Math.max(SCALE_MIN, ratio));
  const share = Math.log(inside / SCALE_MIN) / Math.log(SCALE_MAX / SCALE_MIN);
  return Math.round((BAR_LEFT + share * BAR_WIDTH) * 10) / 10;
}

function shortened(text: string): string {
  const characters = [...text];
  if (characters.length <= LABEL_CHARACTERS_MAX) return text;
  return `${characters.slice(0, LABEL_CHARACTERS_MAX - 1).join("")}…`;
}

function rowSvg(row: BenchRow, index: number): string {
  const top = TOP + index * ROW_HEIGHT;
  const middle = top + ROW_HEIGHT / 2;
  const tone = row.met === null ? "said" : row.met ? "met" : "missed";
  const parts = [
    `<text x="${LABEL_WIDTH}" y="${middle + 4}" text-anchor="end">${escapeXml(shortened(`${row.name} · ${row.beside}`))}</text>`,
  ];
  const [from, to] = [Math.min(x(1), x(row.ratio)), Math.max(x(1), x(row.ratio))];
  const width = Math.max(1, Math.round((to - from) * 10) / 10);
  parts.push(`<rect class="${tone}" x="${from}" y="${middle - 7}" width="${width}" height="14" rx="2"/>`);
  if (row.goal !== null) {
    const at = x("atLeast" in row.goal ? row.goal.atLeast : row.goal.atMost);
    parts.push(`<line class="goal" x1="${at}" y1="${middle - 10}" x2="${at}" y2="${middle + 10}"/>`);
  }
  const goal = row.goal === null ? "" : ` (${goalText(row.goal)} ${verdictText(row)})`;
  const said = escapeXml(`${shortNumber(row.ratio)} ×${goal}`);
  parts.push(`<text x="${BAR_LEFT + BAR_WIDTH + 12}" y="${middle + 4}">${said}</text>`);
  return `<g>${parts.join("")}</g>`;
}

/** An SVG document of the rows that are ratios. */
export function renderSvg(rows: readonly BenchRow[], title: string): string {
  const shown = rows.filter((row) => row.theirs !== null && row.rounds > 0 && Number.isFinite(row.ratio));
  const height = TOP + shown.length * ROW_HEIGHT + BOTTOM;
  const marks = [1 / 4, 1 / 2, 1, 2, 4, 8].map((ratio) => {
    const at = x(ratio);
    const line = `<line class="${ratio === 1 ? "one" : "grid"}" x1="${at}" y1="${TOP - 6}" x2="${at}" y2="${height - BOTTOM + 6}"/>`;
    const label = `<text class="faint" x="${at}" y="${height - BOTTOM + 20}" text-anchor="middle">${ratio < 1 ? `1/${1 / ratio}` : ratio} ×</text>`;
    return line + label;
  });
  return `<?xml version="1.0" encoding="UTF-8"?>
<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${height}" viewBox="0 0 ${WIDTH} ${height}" role="img">
<title>${escapeXml(title)}</title>
<style>${STYLE}</style>
<rect class="back" width="${WIDTH}" height="${height}"/>
<text class="title" x="16" y="26">${escapeXml(title)}</text>
<text class="faint" x="16" y="46">ours / theirs, logarithmic; the tick is the goal (≥: to its right, ≤: to its left)</text>
${marks.join("\n")}
${shown.map(rowSvg).join("\n")}
</svg>
`;
}
