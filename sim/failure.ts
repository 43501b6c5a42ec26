/** What a promise rejects with, or null: Bun's own `rejects` waits in a loop that the simulated clock cannot turn. */
export function failureOf(promise: Promise<unknown>): Promise<unknown> {
  return promise.then(
    () => null,
    (error: unknown) => error,
  );
}
