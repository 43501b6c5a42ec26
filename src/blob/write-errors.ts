/** Errors of writes as the lake gives them. Source: "Blob service error codes" in the REST documentation. */
import type { ServiceError } from "./types.ts";

export const writeErrors = {
  conditionNotMet: {
    status: 412,
    code: "ConditionNotMet",
    message: "The condition specified using HTTP conditional header(s) is not met.",
  },
  blobAlreadyExists: { status: 409, code: "BlobAlreadyExists", message: "The specified blob already exists." },
  blobNotFound: { status: 404, code: "BlobNotFound", message: "The specified blob does not exist." },
  md5Mismatch: {
    status: 400,
    code: "Md5Mismatch",
    message: "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
  },
  crc64Mismatch: {
    status: 400,
    code: "Crc64Mismatch",
    message: "The CRC64 value specified in the request did not match with the CRC64 value calculated by the server.",
  },
} as const satisfies Readonly<Record<string, ServiceError>>;
