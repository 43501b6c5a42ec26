/**
 * Conditional headers and leases. Sources: "Specifying conditional headers for Blob service operations", "Lease Blob",
 * "Lease Container" (Azure Storage REST reference).
 */
import { notModified, simError } from "./errors.ts";
import { type Call, header, httpDate, type Lease, nextGuid, type SimResponse } from "./model.ts";

interface Conditioned {
  readonly etag: string;
  readonly modifiedMs: number;
}

/** How one header's condition came out; null when the header was not given. */
interface Outcomes {
  readonly ifMatch: boolean | null;
  readonly ifNoneMatch: boolean | null;
  readonly ifModifiedSince: boolean | null;
  readonly ifUnmodifiedSince: boolean | null;
}

function outcomes(call: Call, target: Conditioned): Outcomes {
  const names = (name: string): boolean | null => {
    const text = header(call, name);
    if (text === undefined) return null;
    const tags = text.split(",").map((tag) => tag.trim().replace(/^W\//, ""));
    return tags.includes("*") || tags.some((tag) => tag === target.etag || `"${tag}"` === target.etag);
  };
  const sinceMs = (name: string): number | null => {
    const text = header(call, name);
    const ms = text === undefined ? Number.NaN : Date.parse(text);
    return Number.isNaN(ms) ? null : ms;
  };
  // Dates in headers have whole seconds.
  const modifiedMs = Math.floor(target.modifiedMs / 1000) * 1000;
  const named = names("if-none-match");
  const since = sinceMs("if-modified-since");
  const until = sinceMs("if-unmodified-since");
  return {
    ifMatch: names("if-match"),
    ifNoneMatch: named === null ? null : !named,
    ifModifiedSince: since === null ? null : modifiedMs > since,
    ifUnmodifiedSince: until === null ? null : modifiedMs <= until,
  };
}

/** Throws 412, or 304 where the reader has it already. */
export function checkRead(call: Call, target: Conditioned): void {
  if (header(call, "if-none-match") === "*") throw simError("UnsatisfiableCondition");
  const is = outcomes(call, target);
  if (is.ifMatch === false || is.ifUnmodifiedSince === false) throw simError("ConditionNotMet");
  if (is.ifNoneMatch === false && is.ifModifiedSince !== true) throw notModified();
  if (is.ifModifiedSince === false && is.ifNoneMatch !== true) throw notModified();
}

/** Throws 412, or 409 where something must not exist and does. `target` is absent for what does not exist. */
export function checkWrite(call: Call, target: Conditioned | undefined): void {
  if (target === undefined) {
    if (header(call, "if-match") !== undefined) throw simError("ConditionNotMet");
    return;
  }
  if (header(call, "if-none-match") === "*") throw simError("BlobAlreadyExists");
  const is = outcomes(call, target);
  if (Object.values(is).includes(false)) throw simError("ConditionNotMet");
}

/** Throws 412 unless a lease that is active is named, or what is named is the active lease. */
export function checkLease(call: Call, lease: Lease | undefined, writes: boolean): void {
  const given = header(call, "x-ms-lease-id");
  const active = isActive(lease, call.context.nowMs);
  if (given === undefined) {
    if (active && writes) throw simError("LeaseIdMissing");
    return;
  }
  if (!active) throw simError("LeaseNotPresentWithBlobOperation");
  if (given.toLowerCase() !== lease?.id) throw simError("LeaseIdMismatchWithBlobOperation");
}

function isActive(lease: Lease | undefined, nowMs: number): boolean {
  return lease !== undefined && nowMs < lease.untilMs;
}

/** The headers that tell of a lease. */
export function leaseHeaders(lease: Lease | undefined, nowMs: number): string[] {
  if (lease === undefined) return ["x-ms-lease-status", "unlocked", "x-ms-lease-state", "available"];
  const active = isActive(lease, nowMs);
  if (!active) {
    return ["x-ms-lease-status", "unlocked", "x-ms-lease-state", lease.broken ? "broken" : "expired"];
  }
  if (lease.broken) return ["x-ms-lease-status", "locked", "x-ms-lease-state", "breaking"];
  const duration = lease.durationSeconds < 0 ? "infinite" : "fixed";
  return ["x-ms-lease-status", "locked", "x-ms-lease-state", "leased", "x-ms-lease-duration", duration];
}

/** Runs a Lease Blob or Lease Container call on whatever holds the lease. */
export function runLease(call: Call, holder: { lease: Lease | undefined }, target: Conditioned): SimResponse {
  const { nowMs } = call.context;
  const { lease } = holder;
  const given = header(call, "x-ms-lease-id")?.toLowerCase();
  const answer = (status: number, more: readonly string[]): SimResponse => ({
    status,
    headers: ["ETag", target.etag, "Last-Modified", httpDate(target.modifiedMs), ...more],
    body: null,
  });
  const requireOwn = (): Lease => {
    if (lease === undefined) throw simError("LeaseNotPresentWithLeaseOperation");
    if (given !== lease.id) throw simError("LeaseIdMismatchWithLeaseOperation");
    return lease;
  };
  switch (header(call, "x-ms-lease-action")?.toLowerCase()) {
    case "acquire": {
      const id = header(call, "x-ms-proposed-lease-id")?.toLowerCase() ?? nextGuid(call.state, "1ea5e");
      if (isActive(lease, nowMs) && (lease?.broken === true || lease?.id !== id)) throw simError("LeaseAlreadyPresent");
      const seconds = Number(header(call, "x-ms-lease-duration") ?? "-1");
      if (seconds !== -1 && !(seconds >= 15 && seconds <= 60)) throw simError("InvalidHeaderValue");
      holder.lease = { id, durationSeconds: seconds, untilMs: endOf(seconds, nowMs), broken: false };
      return answer(201, ["x-ms-lease-id", id]);
    }
    case "renew": {
      const own = requireOwn();
      if (own.broken) throw simError("LeaseIsBrokenAndCannotBeRenewed");
      own.untilMs = endOf(own.durationSeconds, nowMs);
      return answer(200, ["x-ms-lease-id", own.id]);
    }
    case "change": {
      const proposed = header(call, "x-ms-proposed-lease-id")?.toLowerCase();
      if (proposed === undefined) throw simError("MissingRequiredHeader");
      if (lease !== undefined && lease.id === proposed) return answer(200, ["x-ms-lease-id", proposed]);
      requireOwn().id = proposed;
      return answer(200, ["x-ms-lease-id", proposed]);
    }
    case "release":
      requireOwn();
      holder.lease = undefined;
      return answer(200, []);
    case "break": {
      if (lease === undefined) throw simError("LeaseNotPresentWithLeaseOperation");
      const leftMs = lease.untilMs === Number.POSITIVE_INFINITY ? 0 : Math.max(0, lease.untilMs - nowMs);
      const period = header(call, "x-ms-lease-break-period");
      const waitMs = period === undefined ? leftMs : Math.min(leftMs || Number(period) * 1000, Number(period) * 1000);
      lease.broken = true;
      lease.untilMs = nowMs + waitMs;
      return answer(202, ["x-ms-lease-time", String(Math.ceil(waitMs / 1000))]);
    }
    default:
      throw simError("InvalidHeaderValue");
  }
}

function endOf(seconds: number, nowMs: number): number {
  return seconds < 0 ? Number.POSITIVE_INFINITY : nowMs + seconds * 1000;
}
