import { expect, test } from "bun:test";
import { ForebayError } from "../base/errors.ts";
import { seededRandom } from "../base/random.ts";
import { headerOf } from "../http/types.ts";
import { answerOf, azureError, createRequestIds } from "./errors.ts";

const context = { requestId: "id", nowMs: Date.UTC(2025, 0, 2, 3, 4, 5), apiVersion: "2024-11-04" };

test("an error in the service's form", () => {
  const error = { status: 403, code: "AuthenticationFailed", message: "a < b & c" };
  const { head, body } = azureError(
    error,
    { ...context, clientRequestId: "mine" },
    { AuthenticationErrorDetail: "d>" },
  );
  expect(head).toMatchObject({ status: 403, reason: "Forbidden" });
  expect(headerOf(head.headers, "x-ms-error-code")).toBe("AuthenticationFailed");
  expect(headerOf(head.headers, "x-ms-request-id")).toBe("id");
  expect(headerOf(head.headers, "x-ms-version")).toBe("2024-11-04");
  expect(headerOf(head.headers, "x-ms-client-request-id")).toBe("mine");
  expect(headerOf(head.headers, "date")).toBe("Thu, 02 Jan 2025 03:04:05 GMT");
  expect(Buffer.from(body).toString("utf8")).toBe(
    '\ufeff<?xml version="1.0" encoding="utf-8"?><Error><Code>AuthenticationFailed</Code><Message>a &lt; b &amp; c\n' +
      "RequestId:id\nTime:2025-01-02T03:04:05.0000000Z</Message>" +
      "<AuthenticationErrorDetail>d&gt;</AuthenticationErrorDetail></Error>",
  );
});

test("thrown errors", () => {
  const busy = answerOf(new ForebayError("overloaded", "secret"), context);
  expect(busy.head.status).toBe(503);
  expect(headerOf(busy.head.headers, "x-ms-error-code")).toBe("ServerBusy");
  expect(headerOf(busy.head.headers, "retry-after")).toBe("1");
  expect(Buffer.from(busy.body).toString()).not.toContain("secret");
  expect(headerOf(answerOf(new ForebayError("timeout", ""), context).head.headers, "x-ms-error-code")).toBe(
    "OperationTimedOut",
  );
  expect(headerOf(answerOf(new Error("x"), context).head.headers, "x-ms-error-code")).toBe("InternalError");
});

test("request ids are GUIDs in the service's form, and fresh", () => {
  const random = seededRandom(7);
  const next = createRequestIds(random);
  const ids = Array.from({ length: 100 }, next);
  for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{3}e-00[0-9a-f]{2}-[0-9a-f]{4}-[0-9a-f]{6}000000$/);
  expect(new Set(ids).size).toBe(100);
});
