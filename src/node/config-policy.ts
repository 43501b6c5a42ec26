/** The paths of policies, as operators write them: `[ACCOUNT:]CONTAINER/PREFIX`. */

/** Where a policy holds: see {@link PolicyRule} in `engine/policy.ts`. */
export interface PolicyPath {
  readonly path: string;
  readonly account: string | null;
  readonly container: string | null;
  readonly prefix: string;
}

// Naming rules: learn.microsoft.com, "Naming and referencing containers, blobs, and metadata".
const ACCOUNT = /^[a-z0-9][a-z0-9-]{0,62}$/;
const CONTAINER = /^(\$root|\$web|\$logs|\$blobchangefeed|[a-z0-9](?:-?[a-z0-9]){2,62})$/;

/** Reads a policy's path; `problem` says what is wrong with it and what to write. */
export function parsePolicyPath(path: string): PolicyPath | { readonly problem: string } {
  const match = /^(?:([^/:]*):)?([^/]*)(?:\/(.*))?$/s.exec(path);
  const [account, container = "", prefix = ""] = [match?.[1], match?.[2], match?.[3]];
  if (account !== undefined && !ACCOUNT.test(account)) {
    return { problem: `"${path}" does not begin with an account's name; write ACCOUNT:CONTAINER/PREFIX` };
  }
  if (container === "" && prefix === "" && !path.endsWith("/")) {
    return { path, account: account ?? null, container: null, prefix: "" };
  }
  if (!CONTAINER.test(container) || container.length > 63) {
    return {
      problem: `"${path}" does not begin with a container's name; write CONTAINER/PREFIX, for example datasets/train/`,
    };
  }
  return { path, account: account ?? null, container, prefix };
}
