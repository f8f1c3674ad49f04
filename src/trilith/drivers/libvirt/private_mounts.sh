#!/bin/sh
# private_mounts.sh DIR COMMAND ... - run a libvirt daemon on directories of its own.
# libvirt's paths are compiled in. Inside a mount namespace of our own (unshare -m comes before this) DIR's trees lie
# over them, so neither the host's libvirt nor another of ours is touched. One exec: the pid stays the same.
set -eu
dir=$1
shift
for path in etc/libvirt var/lib/libvirt run/libvirt var/log/libvirt var/cache/libvirt; do
    mkdir -p "/$path"
    mount --bind "$dir/$path" "/$path"
done
# a node with the right group, where the host has no udev rule for it
if [ -c "$dir/dev/kvm" ]; then
    mount --bind "$dir/dev/kvm" /dev/kvm
fi
exec "$@"
