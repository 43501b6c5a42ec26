#!/bin/sh
# As somebody without any right, in a mount namespace of its own in which everybody may open /dev/fuse: mounts by
# fusermount3, reads two files, ends the mount. $1: bun, $2: daemon.ts, $3: an empty folder.
set -e
mount -t tmpfs tmpfs "$3"
mknod "$3/fuse" c 10 229
chmod 666 "$3/fuse"
mount --bind "$3/fuse" /dev/fuse
mkdir "$3/mnt" "$3/flash"
chown 65534:65534 "$3/mnt" "$3/flash"
as="setpriv --reuid=65534 --regid=65534 --clear-groups"
$as "$1" "$2" "$3/mnt" "$3/flash" > "$3/out" 2> "$3/err" &
pid=$!
for i in $(seq 100); do
  if grep -q . "$3/out"; then break; fi
  sleep 0.1
done
cat "$3/out" "$3/err"
$as cat "$3/mnt/whole.txt" "$3/mnt/pieces.txt"
kill "$pid"
wait "$pid" || true
grep "$3/mnt" /proc/mounts || echo unmounted
