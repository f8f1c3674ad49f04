#!/bin/busybox sh
# With -e it is busybox's nc (a persistent server is -ll there, -lk elsewhere), else OpenBSD's.
execute= keep=
for word; do
    case $word in -e) execute=yes; break ;; esac
done
[ -n "$execute" ] || exec /usr/bin/nc.openbsd "$@"
count=$# passed=
while [ "$count" -gt 0 ]; do
    word=$1
    shift
    count=$((count - 1))
    if [ -z "$passed" ]; then
        case $word in
            -e) passed=yes; [ -z "$keep" ] || set -- "$@" -l ;;
            -k) keep=yes; continue ;;
            -[a-z]*k* | -k[a-z]*) keep=yes; word=$(echo "$word" | tr -d k) ;;
        esac
    fi
    set -- "$@" "$word"
done
exec busybox nc "$@"
