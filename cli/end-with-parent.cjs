/**
 * Preloaded into a child process: when the other end of its standard input is gone, because the parent ended in
 * whatever way, the child is asked to end as well. Nothing is left behind even when the parent was killed.
 */
process.stdin.on("error", () => {});
process.stdin.on("close", () => process.kill(process.pid, "SIGTERM"));
process.stdin.resume();
// It must not be what keeps the child alive.
process.stdin.unref();
