#!/bin/sh
# debian-early.sh ROOT: before the kernel's packages are set up, so that the initrd is made once, small and right.
set -eu
root=$1
mkdir -p "$root/etc/initramfs-tools/conf.d" "$root/etc/cloud/cloud.cfg.d"
printf 'MODULES=list\nCOMPRESS=gzip\nFSTYPE=ext4\nRUNSIZE=10%%\n' >"$root/etc/initramfs-tools/conf.d/trilith"
printf '%s\n' virtio_pci virtio_blk virtio_scsi sd_mod ext4 xen-blkfront >"$root/etc/initramfs-tools/modules"
printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
