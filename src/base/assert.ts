/**
 * Assertions that stay on in production: a broken invariant ends the work at hand loudly rather than
 * letting a wrong byte out. They are for what the program itself guarantees, never for input.
 */

/** Thrown when an invariant of the program itself does not hold. Never caused by input alone. */
export class AssertionError extends Error {
  override name = "AssertionError";
}

/** Throws {@link AssertionError} with `what` unless `condition` holds. */
export function assert(condition: unknown, what: string): asserts condition {
  if (!condition) throw new AssertionError(`invariant broken: ${what}`);
}
