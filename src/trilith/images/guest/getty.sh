#!/bin/busybox sh
# A login on the console, wherever that is.
. /usr/lib/tiny/lib.sh
tty=console
if ! in_container; then
    read -r active </sys/class/tty/console/active
    tty=${active##* }
fi
# a container without a console must not make init spin
[ -c "/dev/$tty" ] && stty -F "/dev/$tty" >/dev/null 2>&1 || exec sleep 86400
exec getty -L 115200 "$tty" vt100
