#!/bin/busybox sh
. /usr/lib/tiny/lib.sh
say "going down"
for pid in /var/run/udhcpc.*.pid; do [ -r "$pid" ] && kill "$(cat "$pid")"; done
sync
in_container || umount -a -r 2>/dev/null
exit 0
