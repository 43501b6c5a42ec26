import { expect, test } from "bun:test";
import { parseMountFlags, parseMountTarget } from "./options.ts";

test("what to mount, with and without an account", () => {
  const one = ["acct"];
  const two = ["acct", "other"];
  const cases = [
    ["data", one, "acct data "],
    ["data/", one, "acct data "],
    ["data/train/set", one, "acct data train/set/"],
    ["acct/data", one, "acct data "],
    ["other/data/a//b/", two, "other data a//b/"],
    ["acct", one, "acct acct "],
    ["$root/x", one, "acct $root x/"],
  ] as const;
  for (const [text, accounts, expected] of cases) {
    const { account, container, prefix } = parseMountTarget(text, accounts);
    expect(`${account} ${container} ${prefix}`, text).toBe(expected);
  }
  expect(() => parseMountTarget("data", two)).toThrow("say which account: acct, other");
  expect(() => parseMountTarget("data", [])).toThrow("no account");
  for (const bad of ["", "/", "Data", "a--b", "x", "acct/UP"]) expect(() => parseMountTarget(bad, one), bad).toThrow();
});

test("the options that other mounts take", () => {
  expect(parseMountFlags("")).toEqual({ allowOther: false, uid: null, gid: null, umask: 0o022 });
  expect(parseMountFlags("ro,allow_other,uid=1000,gid=0,umask=077,noatime,x-systemd.automount,,_netdev")).toEqual({
    allowOther: true,
    uid: 1000,
    gid: 0,
    umask: 0o077,
  });
  for (const bad of ["rw", "uid=", "uid=-1", "uid=99999999999", "umask=9", "umask=1777", "nonempty", "gid=x"]) {
    expect(() => parseMountFlags(bad), bad).toThrow(bad.split("=")[0] ?? "");
  }
});
