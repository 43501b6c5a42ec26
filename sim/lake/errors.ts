/** The service's errors: status, code and message as the REST reference lists them ("Blob service error codes"). */
import type { RawHeaders } from "../../src/http/types.ts";
import { SimError } from "./model.ts";

const ERRORS = {
  AuthenticationFailed: [
    403,
    "Server failed to authenticate the request. Make sure the value of the Authorization header is formed correctly including the signature.",
  ],
  AuthorizationFailure: [403, "This request is not authorized to perform this operation."],
  AuthorizationPermissionMismatch: [
    403,
    "This request is not authorized to perform this operation using this permission.",
  ],
  AuthorizationProtocolMismatch: [403, "This request is not authorized to perform this operation using this protocol."],
  AuthorizationResourceTypeMismatch: [
    403,
    "This request is not authorized to perform this operation using this resource type.",
  ],
  AuthorizationServiceMismatch: [403, "This request is not authorized to perform this operation using this service."],
  AuthorizationSourceIPMismatch: [
    403,
    "This request is not authorized to perform this operation using this source IP.",
  ],
  BlobAlreadyExists: [409, "The specified blob already exists."],
  BlobArchived: [409, "This operation is not permitted on an archived blob."],
  BlobNotFound: [404, "The specified blob does not exist."],
  CannotVerifyCopySource: [404, "The specified blob does not exist."],
  ConditionNotMet: [412, "The condition specified using HTTP conditional header(s) is not met."],
  ContainerAlreadyExists: [409, "The specified container already exists."],
  ContainerNotFound: [404, "The specified container does not exist."],
  InvalidAuthenticationInfo: [
    401,
    "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
  ],
  InvalidBlobOrBlock: [400, "The specified blob or block content is invalid."],
  InvalidBlobType: [409, "The blob type is invalid for this operation."],
  InvalidBlockList: [400, "The specified block list is invalid."],
  InvalidHeaderValue: [400, "The value for one of the HTTP headers is not in the correct format."],
  InvalidQueryParameterValue: [400, "Value for one of the query parameters specified in the request URI is invalid."],
  InvalidRange: [416, "The range specified is invalid for the current size of the resource."],
  InvalidResourceName: [400, "The specified resource name contains invalid characters."],
  InvalidXmlDocument: [400, "XML specified is not syntactically valid."],
  LeaseAlreadyPresent: [409, "There is already a lease present."],
  LeaseIdMismatchWithBlobOperation: [412, "The lease ID specified did not match the lease ID for the blob."],
  LeaseIdMismatchWithContainerOperation: [412, "The lease ID specified did not match the lease ID for the container."],
  LeaseIdMismatchWithLeaseOperation: [409, "The lease ID specified did not match the lease ID for the blob."],
  LeaseIdMissing: [412, "There is currently a lease on the blob and no lease ID was specified in the request."],
  LeaseIsBrokenAndCannotBeRenewed: [
    409,
    "The lease ID matched, but the lease has been broken explicitly and cannot be renewed.",
  ],
  LeaseNotPresentWithBlobOperation: [412, "There is currently no lease on the blob."],
  LeaseNotPresentWithLeaseOperation: [409, "There is currently no lease on the blob."],
  Md5Mismatch: [
    400,
    "The MD5 value specified in the request did not match with the MD5 value calculated by the server.",
  ],
  MissingRequiredHeader: [400, "An HTTP header that's mandatory for this request is not specified."],
  NoAuthenticationInformation: [
    401,
    "Server failed to authenticate the request. Please refer to the information in the www-authenticate header.",
  ],
  OutOfRangeInput: [400, "One of the request inputs is out of range."],
  ResourceNotFound: [404, "The specified resource does not exist."],
  SnapshotsPresent: [409, "This operation is not permitted while the blob has snapshots."],
  UnsatisfiableCondition: [400, "The request includes an unsatisfiable condition for this operation."],
  UnsupportedHttpVerb: [405, "The resource doesn't support specified Http Verb."],
  InternalError: [500, "The server encountered an internal error. Please retry the request."],
  ServerBusy: [503, "The server is busy."],
  TooManyRequests: [429, "Too many requests."],
} as const satisfies Record<string, readonly [status: number, message: string]>;

export type SimErrorCode = keyof typeof ERRORS;

/** The error of `code`, to be thrown. */
export function simError(code: SimErrorCode, headers: RawHeaders = []): SimError {
  const [status, message] = ERRORS[code];
  return new SimError(status, code, message, headers);
}

/** 304: a condition of a read says that the reader has it already. */
export function notModified(): SimError {
  return new SimError(304, "ConditionNotMet", "The condition specified using HTTP conditional header(s) is not met.");
}
