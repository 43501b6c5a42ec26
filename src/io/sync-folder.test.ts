import { describe, expect, test } from "bun:test";
import * as fs from "node:fs";
import * as os from "node:os";
import * as path from "node:path";
import { openFolderSync } from "./sync-folder.ts";

function withFolder(run: (root: string) => Promise<void>): Promise<void> {
  const root = fs.mkdtempSync(path.join(os.tmpdir(), "forebay-sync-"));
  return run(root).finally(() => fs.rmSync(root, { recursive: true, force: true }));
}

describe("syncfs of the flash folder", () => {
  test("runs on its thread, also several at a time", () =>
    withFolder(async (root) => {
      const fellBack: string[] = [];
      const folder = openFolderSync(root, (why) => fellBack.push(why));
      fs.writeFileSync(path.join(root, "file"), "bytes");
      await Promise.all([folder.sync(), folder.sync(), folder.sync()]);
      folder.close();
      expect(fellBack).toEqual([]);
    }));

  test("after close it refuses", () =>
    withFolder(async (root) => {
      const folder = openFolderSync(root, () => {});
      folder.close();
      folder.close();
      await expect(folder.sync()).rejects.toMatchObject({ code: "closed" });
    }));

  test("a folder that is not there is named", () => {
    expect(() => openFolderSync("/nonexistent/forebay", () => {})).toThrow(/nonexistent/);
  });
});
