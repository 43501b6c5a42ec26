/** How many files this process may have open. */
import { readFileSync } from "node:fs";

/** The bound in force now, as the kernel says it; null where it does not say. Without a bound: infinity. */
export function descriptorsMax(): number | null {
  try {
    const match = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"));
    if (match === null) return null;
    return match[1] === "unlimited" ? Number.POSITIVE_INFINITY : Number(match[1]);
  } catch {
    return null;
  }
}
