#!/bin/busybox sh
# First process of a VM: load what the root disk needs, mount it, hand over. Kept small, because under emulation
# each hundred kilobytes of initrd is felt.
/bin/busybox mkdir -p /proc /sys /dev /root
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t sysfs sysfs /sys
/bin/busybox mount -t devtmpfs devtmpfs /dev
root=/dev/vda fstype=ext4 flags=rw init=/sbin/init
read -r words </proc/cmdline
for word in $words; do
    case $word in
        root=*) root=${word#root=} ;;
        rootfstype=*) fstype=${word#rootfstype=} ;;
        ro) flags=ro ;;
        init=*) init=${word#init=} ;;
    esac
done

while read -r module; do
    case $module in
        xen-*) [ -e /sys/hypervisor/type ] || continue ;;
        scsi* | sd_mod* | virtio_scsi*) case $root in /dev/sd*) ;; *) continue ;; esac ;;
        virtio*) [ ! -e /sys/hypervisor/type ] || continue ;;
    esac
    /bin/busybox insmod "/modules/$module"
done </modules/order

# Probing of a disk is asynchronous on some buses; the kernel has no event that a shell could wait on here.
tries=100
while [ ! -b "$root" ] && [ "$tries" -gt 0 ]; do
    /bin/busybox usleep 100000
    tries=$((tries - 1))
done
if ! /bin/busybox mount -t "$fstype" -o "$flags" "$root" /root; then
    echo "tiny: cannot mount $root as $fstype; block devices: $(/bin/busybox ls /sys/class/block)"
    exec /bin/busybox sh
fi
for place in proc sys dev; do /bin/busybox mount -o move "/$place" "/root/$place"; done
exec /bin/busybox switch_root /root "$init"
