#!/bin/busybox sh
# first-boot.sh local|network: take this server's identity from the config drive, or from the metadata service.
# Exit 0 when a source answered. Host name, keys and password are set when the instance id is a new one.
. /usr/lib/tiny/lib.sh
umask 077
mkdir -p /run/tiny "$state"
service=http://169.254.169.254
service6='http://[fe80::a9fe:a9fe'

config_drive() {
    [ -r /config-drive/openstack/latest/meta_data.json ] && { source=/config-drive; return 0; }
    in_container && return 1
    device=$(blkid -c /dev/null -t LABEL=config-2 -o device | head -n 1)
    [ -n "$device" ] || return 1
    mkdir -p /run/config-drive
    mounted /run/config-drive || mount -o ro "$device" /run/config-drive || return 1
    source=/run/config-drive
}

fetch() {
    case $source in
        http*) curl -gsf --connect-timeout 2 -m 10 -o "$2" "$source/$1" ;;
        *) [ -r "$source/$1" ] && cp "$source/$1" "$2" ;;
    esac
}

answers() { source=$1; fetch openstack/latest/meta_data.json /run/tiny/meta_data.json; }

if [ "$1" = local ]; then
    config_drive || exit 1
    answers "$source" || exit 1
else
    # The route to the service comes with the DHCP lease; a server without a network must not wait for ever.
    tries=60
    until answers "$service"; do
        # without an IPv4 address after some seconds, this may be a network of IPv6 alone
        if [ "$tries" -lt 55 ] && ! ip route get 169.254.169.254 >/dev/null 2>&1; then
            for link in $(ls /sys/class/net | grep -v '^lo$'); do
                answers "$service6%25$link]" && break 2
            done
        fi
        tries=$((tries - 1))
        [ "$tries" -gt 0 ] || { say "no config drive, and $service did not answer"; exit 1; }
        if [ "$tries" -gt 50 ]; then usleep 300000; else sleep 1; fi
    done
fi
fetch openstack/latest/network_data.json /run/tiny/network_data.json && /usr/lib/tiny/json.sh </run/tiny/network_data.json >/run/tiny/network_data
fetch openstack/latest/user_data /run/tiny/user_data || rm -f /run/tiny/user_data
/usr/lib/tiny/json.sh </run/tiny/meta_data.json >/run/tiny/meta_data || { say "meta_data.json of $source is not JSON"; exit 1; }

uuid=$(field /run/tiny/meta_data uuid)
[ -n "$uuid" ] || { say "meta_data.json of $source names no uuid"; exit 1; }
[ "$uuid" = "$(cat "$state/instance-id" 2>/dev/null)" ] && exit 0

name=$(field /run/tiny/meta_data hostname)
if [ -n "$name" ]; then
    short=${name%%.*}
    echo "$short" >/etc/hostname
    [ "$(hostname)" = "$short" ] || hostname "$short" || say "the host name stays $(hostname)"
    printf '127.0.0.1\tlocalhost\n127.0.1.1\t%s %s\n::1\tlocalhost ip6-localhost\n' "$name" "$short" >/etc/hosts
    chmod 644 /etc/hostname /etc/hosts
fi
awk -F '\t' '$1 ~ /^public_keys\// { print $2 }' /run/tiny/meta_data >/run/tiny/keys
for home in /root /home/tiny; do
    mkdir -p "$home/.ssh"
    cp /run/tiny/keys "$home/.ssh/authorized_keys"
done
chown -R tiny:tiny /home/tiny/.ssh
password=$(field /run/tiny/meta_data admin_pass)
if [ -n "$password" ]; then
    for user in root tiny; do echo "$user:$password"; done | chpasswd || say "the password was not set"
fi
# The files of its personality. A container's driver has put them into the root already.
if ! in_container; then
    awk -F '\t' '$1 ~ /^files\/[0-9]+\/path$/ { split($1, at, "/"); print at[2] "\t" $2 }' /run/tiny/meta_data |
        while IFS="$(printf '\t')" read -r number path; do
            content=$(field /run/tiny/meta_data "files/$number/content_path")
            mkdir -p "/$(dirname "$path")"
            if fetch "openstack$content" /run/tiny/file && mv /run/tiny/file "/$path"; then
                chmod 660 "/$path"
            else
                say "the file $path was not written"
            fi
        done
fi
# A copy of another server must not keep its host keys, nor believe that its script has run.
if [ -e "$state/instance-id" ]; then
    rm -f /etc/dropbear/dropbear_*_host_key "$state/user-data.done"
    if [ "$1" = network ]; then
        /usr/lib/tiny/host-keys.sh
        kill "$(cat /run/dropbear.pid)" 2>/dev/null
    fi
fi
rm -f "$state/user-data.done"
echo "$uuid" >"$state/instance-id.new" && sync && mv "$state/instance-id.new" "$state/instance-id"
say "$name is $uuid, $(wc -l </run/tiny/keys) ssh keys, from $source"
