#!/bin/sh
# Before the kernel's package is set up: a small initramfs, made once. $1: the root of the image.
set -eu
mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"
printf 'MODULES=list\nCOMPRESS=zstd\n' >"$1/etc/initramfs-tools/conf.d/zz-test"
printf '%s\n' virtio_pci virtio_blk virtio_net ext4 >"$1/usr/share/initramfs-tools/modules.d/zz-test"
