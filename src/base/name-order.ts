/**
 * The order in which the lake lists names: that of their UTF-8 bytes. JavaScript compares UTF-16 units, which puts
 * surrogates (U+10000 and up) before U+E000.
 */

/** Compares as the UTF-8 bytes of the names do. */
export function compareNames(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left !== right) return rank(left) - rank(right);
  }
  return a.length - b.length;
}

const rank = (unit: number): number => (unit < 0xd800 ? unit : unit < 0xe000 ? unit + 0x2000 : unit - 0x800);

/** The first name that may follow `name`. */
export function nameAfter(name: string): string {
  return `${name}\u0000`;
}

/** The first name that follows all names beginning with `prefix`; null when none can. */
export function nameAfterPrefix(prefix: string): string | null {
  const points = [...prefix];
  for (let point = points.pop(); point !== undefined; point = points.pop()) {
    const code = point.codePointAt(0) ?? 0;
    if (code === 0x10ffff) continue;
    // Surrogates are no characters.
    return points.join("") + String.fromCodePoint(code === 0xd7ff ? 0xe000 : code + 1);
  }
  return null;
}
