#!/bin/busybox sh
# User data that is a script runs once in a server's life, after the network had its chance.
. /usr/lib/tiny/lib.sh
script=/run/tiny/user_data
[ -s "$script" ] && [ ! -e "$state/user-data.done" ] || exit 0
case $(head -c 2 "$script") in
    '#!') ;;
    *) say "user data is not a script (#!): not run"; exit 0 ;;
esac
tries=100
while [ -z "$(ip route show default)" ] && [ "$tries" -gt 0 ] && pidof udhcpc >/dev/null; do
    usleep 100000
    tries=$((tries - 1))
done
# Marked before it runs: a script that reboots must not run again.
: >"$state/user-data.done" && sync
mkdir -p "$state"
cp "$script" "$state/user-data" && chmod 700 "$state/user-data"
say "user data runs"
"$state/user-data" </dev/null >/var/log/user-data.log 2>&1
code=$?
[ -w /dev/console ] && cat /var/log/user-data.log >/dev/console
say "user data ended with $code"
