/** Logs: JSON lines on standard error, one logger per process. What must not be said is never handed in. */
import pino from "pino";
import type { EngineLog } from "../engine/context.ts";

/** A log function of the process `role`, writing to standard error. */
export function createLogger(role: string, level: string): EngineLog {
  const logger = pino({ level, base: { role, pid: process.pid } }, pino.destination({ fd: 2, sync: true }));
  return (severity, message, fields) => logger[severity](fields ?? {}, message);
}
