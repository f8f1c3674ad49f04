#!/bin/busybox sh
# Called by udhcpc with the lease in the environment (interface, ip, mask, router, staticroutes, dns, mtu …).
. /usr/lib/tiny/lib.sh
resolv=/run/resolv/$interface
# NICs in order: the first one's default route wins
metric=$((100 + $(cat "/sys/class/net/$interface/ifindex")))

merge_resolv() { cat /run/resolv/* 2>/dev/null | awk '!seen[$0]++' >/run/resolv.conf.new && cat /run/resolv.conf.new >/etc/resolv.conf; }

case $1 in
    deconfig)
        ip link set "$interface" up
        ip -4 addr flush dev "$interface"
        rm -f "$resolv"
        ;;
    bound | renew)
        # option 26; an answer below IPv4's minimum is a mistake of the server's
        [ -n "$mtu" ] && [ "$mtu" -ge 576 ] && ip link set "$interface" mtu "$mtu"
        for old in $(ip -4 -o addr show dev "$interface" | awk '{ print $4 }'); do
            [ "$old" = "$ip/$mask" ] || [ "$1" = renew ] || ip addr del "$old" dev "$interface"
        done
        ip -4 -o addr show dev "$interface" | grep -qF " $ip/$mask " || ip addr add "$ip/$mask" brd + dev "$interface"
        # RFC 3442: with option 121 the router option is ignored
        if [ -n "$staticroutes" ]; then
            set -- $staticroutes
            while [ $# -ge 2 ]; do
                case $1 in 0.0.0.0/0) to=default by=$metric ;; *) to=$1 by=0 ;; esac
                if [ "$2" = 0.0.0.0 ]; then
                    ip route replace "$to" dev "$interface" metric "$by"
                else
                    ip route replace "$to" via "$2" dev "$interface" metric "$by"
                fi
                shift 2
            done
        else
            for gateway in $router; do ip route replace default via "$gateway" dev "$interface" metric "$metric"; done
        fi
        mkdir -p /run/resolv
        { [ -z "$search$domain" ] || echo "search ${search:-$domain}"; for server in $dns; do echo "nameserver $server"; done; } >"$resolv"
        merge_resolv
        [ "$1" = renew ] || say "$interface $ip/$mask mtu $(cat "/sys/class/net/$interface/mtu")"
        ;;
esac
