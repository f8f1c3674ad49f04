#!/bin/busybox sh
# Start of user space, in a container and in a VM alike. Whatever is missing is made; what the container runtime
# has made already is left alone.
. /usr/lib/tiny/lib.sh

mounted /proc || mount -t proc proc /proc
mounted /sys || mount -t sysfs sysfs /sys
mounted /dev || in_container || mount -t devtmpfs devtmpfs /dev
[ -d /dev/pts ] || mkdir -p /dev/pts
mounted /dev/pts || mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /dev/pts
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -d /dev/shm ] || mkdir -p -m 1777 /dev/shm
mounted /dev/shm || mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /dev/shm
mounted /run || mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /run
mkdir -p /run/tiny /run/resolv

if ! in_container; then
    hostname -F /etc/hostname
    # what the devices found call for (network, power button, …), and isofs for the config drive
    find /sys/devices -name modalias -exec cat {} + | sort -u | xargs modprobe -a isofs evdev 2>/dev/null
    acpid -l /dev/null
    # as udev does: who may not read a disk finds it by its label
    mkdir -p /dev/disk/by-label
    blkid -c /dev/null -o device | while read -r node; do
        label=$(blkid -c /dev/null -s LABEL -o value "$node")
        case $label in '' | */*) ;; *) ln -sf "../../${node##*/}" "/dev/disk/by-label/$label" ;; esac
    done
    device=$(awk '$2 == "/" && $1 != "rootfs" { print $1 }' /proc/mounts | tail -n 1)
    case $device in /dev/*) resize2fs "$device" >/run/tiny/resize2fs.log 2>&1 || say "resize2fs $device: $(tail -n 1 /run/tiny/resize2fs.log)" ;; esac
fi
[ -w /proc/sys/net/ipv4/ping_group_range ] && echo '0 2147483647' >/proc/sys/net/ipv4/ping_group_range 2>/dev/null

# A config drive is read before ssh answers, so that a copy of a server never shows the host keys of the original.
/usr/lib/tiny/first-boot.sh local
configured=$?
/usr/lib/tiny/host-keys.sh
/usr/lib/tiny/network.sh
# the agent is there last: a password that it is asked for is newer than the one that the server was made with
agent() { in_container || /usr/lib/tiny/agent.sh; }
if [ "$configured" -eq 0 ]; then
    /usr/lib/tiny/user-data.sh &
    agent &
else
    (
        if /usr/lib/tiny/first-boot.sh network; then /usr/lib/tiny/user-data.sh & fi
        agent
    ) &
fi
say "up after $(cut -d' ' -f1 /proc/uptime) s, $(uname -r), $(in_container && echo container || echo machine)"
