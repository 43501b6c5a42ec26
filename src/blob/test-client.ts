/** The real client of the service as a maker of signed requests: nothing is sent, what it would send is kept. */
import { BlobServiceClient, newPipeline, StorageSharedKeyCredential } from "@azure/storage-blob";

/** A request as the client would send it. */
export interface CapturedRequest {
  readonly method: string;
  readonly host: string;
  readonly target: string;
  readonly headers: string[];
  readonly body: string | undefined;
}

export const TEST_ACCOUNT = "acct";
export const TEST_KEY = Buffer.from("the key of a test account, 32 by").toString("base64");
export const TEST_KEYS: readonly Uint8Array[] = [Buffer.from(TEST_KEY, "base64")];

/** A credential of the test account. */
export function testCredential(): StorageSharedKeyCredential {
  return new StorageSharedKeyCredential(TEST_ACCOUNT, TEST_KEY);
}

/** Runs `act` with a client of `baseUrl` and returns the requests that it made; each of them fails unsent. */
export async function capture(
  baseUrl: string,
  act: (client: BlobServiceClient) => Promise<unknown>,
  account: { readonly name: string; readonly key: string } = { name: TEST_ACCOUNT, key: TEST_KEY },
): Promise<CapturedRequest[]> {
  const requests: CapturedRequest[] = [];
  const pipeline = newPipeline(new StorageSharedKeyCredential(account.name, account.key), {
    retryOptions: { maxTries: 1 },
    httpClient: {
      sendRequest: async (request) => {
        const url = new URL(request.url);
        const headers: string[] = [];
        for (const header of request.headers.headersArray()) headers.push(header.name, header.value);
        const raw = request.url.slice(request.url.indexOf("/", 8));
        const body: unknown = request.body;
        requests.push({
          method: request.method,
          host: url.host,
          target: raw.startsWith("/") ? raw : `/${raw}`,
          headers,
          body: typeof body === "string" ? body : undefined,
        });
        throw new Error("captured");
      },
    },
  });
  await act(new BlobServiceClient(baseUrl, pipeline)).catch(() => {});
  return requests;
}
