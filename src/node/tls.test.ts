import { afterAll, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeCertificate } from "../../tests/support/certificate.ts";
import { readTls } from "./tls.ts";

const folder = mkdtempSync(join(tmpdir(), "forebay-tls-"));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function certificate(name: string) {
  mkdirSync(join(folder, name));
  return makeCertificate(join(folder, name));
}

test("a pair that fits is taken as it is; without one it is plain http", () => {
  const { certFile, keyFile, cert, key } = certificate("good");
  expect(readTls({ tls: { certFile, keyFile } })).toEqual({ cert, key });
  expect(readTls({ tls: null })).toBeUndefined();
});

test("what is no use is refused with the setting's name", () => {
  const [one, two] = [certificate("one"), certificate("two")];
  const junk = join(folder, "junk");
  writeFileSync(junk, "junk");
  const none = join(folder, "none");
  const refusals = [
    [one.certFile, two.keyFile, "tlsKey: .* is not the key of the certificate"],
    [none, one.keyFile, "tlsCert: .* cannot be read"],
    [one.certFile, none, "tlsKey: .* cannot be read"],
    [junk, one.keyFile, "tlsCert: .* holds no certificate"],
    [one.certFile, junk, "tlsKey: .* holds no private key"],
  ] as const;
  for (const [certFile, keyFile, message] of refusals) {
    expect(() => readTls({ tls: { certFile, keyFile } })).toThrow(new RegExp(message));
  }
});
