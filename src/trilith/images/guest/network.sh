#!/bin/busybox sh
# Every NIC up: DHCP, or the addresses of network_data.json where the subnet has no DHCP.
. /usr/lib/tiny/lib.sh
data=/run/tiny/network_data

# netmask in dotted form, or a prefix length, as a prefix length
prefix() {
    case $1 in
        *.*) echo "$1" | awk -F . '{ for (i = 1; i <= 4; i++) for (n = $i; n > 0; n = n * 2 % 256) bits++; print bits + 0 }' ;;
        *:*) echo "$1" | awk -F : '{ for (i = 1; i <= NF; i++) { w = tolower($i); while (w != "") { c = index("0123456789abcdef", substr(w, 1, 1)) - 1; w = substr(w, 2); bits += (c >= 8) + (c >= 12) + (c >= 14) + (c == 15) } } print bits + 0 }' ;;
        *) echo "$1" ;;
    esac
}

# link id of a MAC address in network_data
link_of() { awk -F '\t' -v mac="$1" '$1 ~ /ethernet_mac_address$/ && tolower($2) == mac { sub(/ethernet_mac_address$/, "id", $1); print $1; exit }' "$data"; }

# networks/N of a link id
networks_of() { awk -F '\t' -v link="$1" '$1 ~ /^networks\/[0-9]+\/link$/ && $2 == link { sub(/\/link$/, "", $1); print $1 }' "$data"; }

assign() { # interface, networks/N: address and routes by hand
    address=$(field "$data" "$2/ip_address")
    mask=$(field "$data" "$2/netmask")
    [ -n "$address" ] || return 0
    case $address in */*) ;; *) address=$address/$(prefix "$mask") ;; esac
    case $address in
        *:*) ip -6 addr add "$address" dev "$1" nodad ;;
        *) ip addr add "$address" brd + dev "$1" ;;
    esac || say "$1: cannot set $address"
    n=0
    while gateway=$(field "$data" "$2/routes/$n/gateway"); [ -n "$gateway" ]; do
        to=$(field "$data" "$2/routes/$n/network")/$(prefix "$(field "$data" "$2/routes/$n/netmask")")
        ip route replace "$to" via "$gateway" dev "$1" || say "$1: cannot route $to by $gateway"
        n=$((n + 1))
    done
    say "$1 $address"
}

ip link set lo up
for path in /sys/class/net/*; do
    nic=${path##*/}
    # only real interfaces: the kernel offers tunnels and the like in every network namespace
    [ "$(cat "$path/type")" = 1 ] || continue
    case $nic in lo | dummy* | bond* | br*) continue ;; esac
    dhcp=yes
    ip link set "$nic" up
    if [ -s "$data" ]; then
        id=$(link_of "$(cat "$path/address")")
        link=$(field "$data" "$id")
        mtu=$(field "$data" "${id%/id}/mtu")
        case $mtu in '' | null) ;; *) ip link set "$nic" mtu "$mtu" ;; esac
        for entry in $(networks_of "$link"); do
            case $(field "$data" "$entry/type") in
                ipv4) dhcp=no; assign "$nic" "$entry" ;;
                ipv6 | ipv6_dhcpv6-stateful) assign "$nic" "$entry" ;;
            esac
        done
        [ "$dhcp" = yes ] || awk -F '\t' '$1 ~ /^services\/[0-9]+\/address$/ { print "nameserver " $2 }' "$data" >>/etc/resolv.conf
    fi
    # in the background each: a NIC without an answer delays nothing
    [ "$dhcp" = no ] || udhcpc -i "$nic" -b -R -t 8 -T 1 -A 3 -O mtu -O staticroutes -x "hostname:$(hostname)" \
        -s /usr/lib/tiny/udhcpc.sh -p "/var/run/udhcpc.$nic.pid" >/dev/null 2>&1 &
done
