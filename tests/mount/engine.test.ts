/**
 * The whole way: a real mount over the engine, with a keeper and its index on a real folder and Azurite as the lake.
 * Skipped where nothing can be mounted.
 */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { BlobServiceClient, type ContainerClient } from "@azure/storage-blob";
import { seededRandom } from "../../src/base/random.ts";
import { type Azurite, startAzurite } from "../support/azurite.ts";
import { type EngineWorld, mountEngine } from "./engine-world.ts";
import { companion, python, run, shell, until, whyNoMount } from "./harness.ts";

const SEED = 20_260_402;
const whyNot = await whyNoMount();
const sha = (bytes: Uint8Array): string => new Bun.CryptoHasher("sha256").update(bytes).digest("hex");

describe.skipIf(whyNot !== null)("a mount over the engine", () => {
  let azurite: Azurite;
  let container: ContainerClient;
  let name = "";
  let engine: EngineWorld | null = null;
  let nextName = 0;
  const big = seededRandom(SEED).fill(new Uint8Array(12_345_678));

  const put = (blob: string, bytes: Uint8Array, metadata: Record<string, string> = {}) =>
    container.getBlockBlobClient(blob).upload(Buffer.from(bytes), bytes.length, { metadata });
  const state = (path: string) =>
    python("import os,sys\nprint(os.getxattr(sys.argv[1],'user.forebay.state').decode())", path).then((s) => s.trim());
  const begin = async (options: Partial<Parameters<typeof mountEngine>[0]> = {}): Promise<EngineWorld> => {
    engine = await mountEngine({ connection: azurite.connectionString(), container: name, ...options });
    return engine;
  };

  beforeAll(async () => {
    azurite = await startAzurite();
  });
  afterAll(() => azurite.stop());
  const fresh = async (): Promise<void> => {
    name = `mounted-${nextName++}`;
    const service = BlobServiceClient.fromConnectionString(azurite.connectionString());
    container = service.getContainerClient(name);
    await container.create();
  };
  afterEach(async () => {
    await engine?.end();
    engine = null;
  });

  test("a blob is read from the lake once, and by the kernel from then on", async () => {
    await fresh();
    await put("data/big.bin", big);
    const { world, stats } = await begin({ maxStaleMs: "immutable" });
    const path = join(world.folder, "data/big.bin");
    expect(await shell('sha256sum < "$1"', path)).toBe(`${sha(big)}  -\n`);
    await until("it is whole on flash", async () => (await state(path)) === "complete");
    const asked = JSON.stringify(stats.lakeRequests);
    expect(await shell('sha256sum < "$1"', path)).toBe(`${sha(big)}  -\n`);
    const served = stats.bytesFromFlash;
    for (let i = 0; i < 3; i++) expect(await shell('sha256sum < "$1"', path)).toBe(`${sha(big)}  -\n`);
    expect(JSON.stringify(stats.lakeRequests)).toBe(asked);
    // The kernel read it, and nobody was asked: no byte of it passed through the engine.
    expect(stats.bytesFromFlash).toBe(served);
  });

  test("pieces of a large blob come alone, and a mapping is right before it is whole", async () => {
    await fresh();
    await put("big", big);
    const { world } = await begin();
    const script = `
import os, sys, mmap, hashlib
f = os.open(sys.argv[1], os.O_RDONLY)
m = mmap.mmap(f, 0, prot=mmap.PROT_READ)
out = [hashlib.sha256(m[at:at + 5000]).hexdigest() for at in (12000000, 3, 6000000)]
out += [hashlib.sha256(os.pread(f, 5000, at)).hexdigest() for at in (9000000, 12345000)]
print(" ".join(out))
`;
    const piece = (at: number) => sha(big.subarray(at, at + 5000));
    const expected = [12_000_000, 3, 6_000_000, 9_000_000, 12_345_000].map(piece).join(" ");
    expect(await python(script, join(world.folder, "big"))).toBe(`${expected}\n`);
  });

  test("a change through Forebay is seen by the next open; who has it open keeps the version", async () => {
    await fresh();
    await put("f", big.subarray(0, 500_000));
    const { world, changed } = await begin({ maxStaleMs: "immutable" });
    const path = join(world.folder, "f");
    await shell('cat "$1" > /dev/null', path);
    await until("it is whole on flash", async () => (await state(path)) === "complete");
    const holder = companion(
      "import os,sys,hashlib\nf=os.open(sys.argv[1],os.O_RDONLY)\nprint(os.fstat(f).st_ino)\nsys.stdin.readline()\nprint(hashlib.sha256(os.pread(f,1<<24,0)).hexdigest())",
      path,
    );
    const ino = await holder.line();
    await changed(name, "f", () => put("f", big.subarray(7, 300_007)));
    expect(await shell('sha256sum < "$1"; stat -c %i "$1"', path)).toBe(
      `${sha(big.subarray(7, 300_007))}  -\n${ino}\n`,
    );
    holder.tell("read");
    expect(await holder.line()).toBe(sha(big.subarray(0, 500_000)));
    expect(await holder.end()).toBe(0);
    await changed(name, "f", () => container.deleteBlob("f"));
    expect((await run("cat", path)).err).toContain("No such file");
  });

  test("a change behind Forebay's back is seen within the policy's bound, at once where it is 0", async () => {
    await fresh();
    await put("f", new Uint8Array([65]));
    const { world } = await begin({ maxStaleMs: 0 });
    for (let i = 1; i < 12; i++) {
      await put("f", new Uint8Array(i).fill(65 + i));
      expect(await shell('cat "$1"; stat -c " %s" "$1"', join(world.folder, "f"))).toBe(
        `${String.fromCharCode(65 + i).repeat(i)} ${i}\n`,
      );
    }
  });

  test("folders, odd names, markers, and blobs of other kinds", async () => {
    await fresh();
    const text = (t: string) => Buffer.from(t);
    await put("a/b/c & <d> é.txt", text("odd"));
    await put("a//double", text("hidden"));
    await put("/leading", text("hidden"));
    await put(`a/${"x".repeat(300)}`, text("hidden"));
    await put("both", text("the blob is hidden"));
    await put("both/inside", text("inside"));
    await put("both-after", text("between the two in the lake's order"));
    await put("marker", new Uint8Array(0), { hdi_isfolder: "true" });
    await put("slash/", new Uint8Array(0));
    await put("empty", new Uint8Array(0));
    const append = container.getAppendBlobClient("append");
    await append.create();
    await append.appendBlock("appended", 8);
    const { world } = await begin();
    const { folder } = world;
    const seen = await shell('cd "$1" && find . -mindepth 1 -printf "%y %s %p\\n" | sort -k3', folder);
    expect(seen.trim().split("\n")).toEqual(
      [
        "d 0 ./a",
        "d 0 ./a/b",
        "f 3 ./a/b/c & <d> é.txt",
        "f 8 ./append",
        "d 0 ./both",
        "f 6 ./both/inside",
        "f 35 ./both-after",
        "f 0 ./empty",
        "d 0 ./marker",
        "d 0 ./slash",
      ].sort((x, y) => Buffer.compare(Buffer.from(x.slice(x.indexOf("."))), Buffer.from(y.slice(y.indexOf("."))))),
    );
    expect(await shell('cat "$1/append" "$1/empty" "$1/both/inside"; cat "$1/a/b"/*', folder)).toBe(
      "appendedinsideodd",
    );
    for (const path of ["a/", "marker", "slash", "both"]) {
      expect(await shell('stat -c %F "$1"', join(folder, path))).toBe("directory\n");
    }
    expect((await run("ls", join(folder, "nothing"))).err).toContain("No such file");
  });

  test("a part of a container, by itself, and extended attributes of a blob", async () => {
    await fresh();
    await put("train/set/x.bin", new Uint8Array(10));
    await put("other/y.bin", new Uint8Array(10));
    const { world } = await begin({ prefix: "train/", passthrough: false });
    expect(await shell('cd "$1" && find . -type f', world.folder)).toBe("./set/x.bin\n");
    const script = "import os,sys\nfor n in sorted(os.listxattr(sys.argv[1])): print(n)";
    const said = await python(script, join(world.folder, "set/x.bin"));
    expect(said.split("\n")).toContain("user.forebay.etag");
    expect(said).toContain("user.forebay.blob-type\n");
    expect(said).toContain("user.forebay.state\n");
    expect(said).toContain("user.forebay.tier\n");
  });

  test("what is evicted is fetched again, and whoever has it open is not disturbed", async () => {
    await fresh();
    await put("f", big.subarray(0, 400_000));
    const { world, keeper } = await begin();
    const path = join(world.folder, "f");
    await shell('cat "$1" > /dev/null', path);
    await until("it is whole on flash", async () => (await state(path)) === "complete");
    const holder = companion(
      "import os,sys,hashlib\nf=os.open(sys.argv[1],os.O_RDONLY)\nprint('open')\nsys.stdin.readline()\nprint(hashlib.sha256(os.pread(f,1<<24,0)).hexdigest())",
      path,
    );
    await holder.line();
    await keeper.drop(`${container.accountName}/${name}/f`, null, "deleted");
    expect(await shell('sha256sum < "$1"', path)).toBe(`${sha(big.subarray(0, 400_000))}  -\n`);
    holder.tell("read");
    expect(await holder.line()).toBe(sha(big.subarray(0, 400_000)));
    expect(await holder.end()).toBe(0);
  });

  test("many files in one folder, page by page", async () => {
    await fresh();
    const count = 300;
    for (let i = 0; i < count; i += 50) {
      await Promise.all(Array.from({ length: 50 }, (_, k) => put(`d/f${i + k}`, new Uint8Array(i + k))));
    }
    const { world } = await begin();
    expect(await shell('ls -l "$1/d" | tail -n +2 | wc -l', world.folder)).toBe(`${count}\n`);
    const sizes = await shell('cd "$1/d" && stat -c "%n %s" f0 f7 f299', world.folder);
    expect(sizes).toBe("f0 0\nf7 7\nf299 299\n");
  });

  test("when the lake is away, what is fresh is read and the rest fails in time", async () => {
    await fresh();
    await put("held", big.subarray(0, 100_000));
    await put("not-held", big.subarray(0, 100_000));
    const other = await startAzurite();
    try {
      const service = BlobServiceClient.fromConnectionString(other.connectionString());
      await service.getContainerClient(name).create();
      for (const blob of ["held", "not-held"]) {
        await service
          .getContainerClient(name)
          .getBlockBlobClient(blob)
          .upload(Buffer.from(big.subarray(0, 100_000)), 100_000);
      }
      const { world } = await begin({ connection: other.connectionString(), maxStaleMs: "immutable" });
      const held = join(world.folder, "held");
      await shell('cat "$1" > /dev/null; ls -l "$2" > /dev/null', held, world.folder);
      await until("it is whole on flash", async () => (await state(held)) === "complete");
      await other.stop();
      expect(await shell('sha256sum < "$1"', held)).toBe(`${sha(big.subarray(0, 100_000))}  -\n`);
      expect((await run("cat", join(world.folder, "not-held"))).err).toContain("Input/output error");
    } finally {
      await other.stop().catch(() => {});
    }
  });
});
