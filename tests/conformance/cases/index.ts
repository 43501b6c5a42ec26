/** Every case of the suite, by subject. */
import type { CaseGroup } from "../harness/case.ts";
import { authorisation, bearer } from "./authorisation.ts";
import { conditionCases } from "./conditions.ts";
import { containers, listings, service } from "./containers.ts";
import { http } from "./http.ts";
import { copies, cors, leases } from "./leases-copies.ts";
import { names } from "./names.ts";
import { reads } from "./reads.ts";
import { blockBlobs, otherBlobs } from "./writes.ts";

/** All groups. */
export const groups: readonly CaseGroup[] = [
  reads,
  conditionCases,
  blockBlobs,
  otherBlobs,
  service,
  containers,
  listings,
  leases,
  copies,
  cors,
  names,
  http,
  authorisation,
  bearer,
];
