/**
 * A mount in a process of its own, for tests that end it by force or run it as somebody else:
 * `bun tests/mount/daemon.ts FOLDER FLASH`. It shows one file that is whole on flash and one that is not, says `ready
 * MODE` on stdout (or `failed CODE MESSAGE`), and ends with SIGTERM.
 */
import { asForebayError } from "../../src/base/errors.ts";
import { realClock } from "../../src/io/clock.ts";
import { startMount } from "../../src/mount/mount.ts";
import { createMemorySource } from "./memory-source.ts";

const [folder = "", flash = ""] = process.argv.slice(2);
const source = createMemorySource(flash);
source.freshMs = 60_000;
source.put("whole.txt", Buffer.from("whole on flash\n"), true);
source.put("pieces.txt", Buffer.from("piece by piece\n"), false);
try {
  const mount = await startMount({
    options: {
      folder,
      label: "forebay:daemon",
      allowOther: false,
      uid: process.getuid?.() ?? 0,
      gid: process.getgid?.() ?? 0,
      umask: 0o022,
      passthrough: true,
    },
    source,
    clock: realClock,
    log: (level, message, fields) => process.stderr.write(`${level} ${message} ${JSON.stringify(fields ?? {})}\n`),
  });
  process.on("SIGTERM", () => void mount.stop());
  process.stdout.write(`ready ${mount.mode}\n`);
  await mount.ended;
  process.exit(0);
} catch (error) {
  const { code, message } = asForebayError(error);
  process.stdout.write(`failed ${code} ${message}\n`);
  process.exit(1);
}
