/** Logs: JSON lines on standard error, one logger per process. What must not be said is never handed in. */
import pino from "pino";
import type { EngineLog } from "../engine/context.ts";
import { lineSink } from "../io/line-sink.ts";

const STDERR = 2;

/**
 * A log function of the process `role`, writing to standard error (`fd`). It never throws: what cannot be written is
 * lost, and counted in the first line that can be written again.
 */
export function createLogger(role: string, level: string, fd: number = STDERR): EngineLog {
  const sink = lineSink(fd);
  const logger = pino({ level, base: { role, pid: process.pid } }, { write: (line) => void sink.write(line) });
  let lost = 0;
  return (severity, message, fields) => {
    logger[severity](fields ?? {}, message);
    const { lines } = sink.takeLost();
    lost += lines;
    if (lines > 0 || lost === 0) return;
    logger.error({ lines: lost }, "log lines were lost: they could not be written");
    const again = sink.takeLost().lines;
    lost = again === 0 ? 0 : lost;
  };
}
