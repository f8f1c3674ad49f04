#!/bin/sh
# debian-late.sh ROOT NAME: what makes a distribution's packages an image for containers and machines alike.
set -eu
root=$1
unit=$root/etc/systemd/system
rm -f "$root/usr/sbin/policy-rc.d"

# a copy has its own identity
rm -f "$root"/etc/ssh/ssh_host_* "$root/var/lib/dbus/machine-id" "$root/var/lib/systemd/random-seed"
: >"$root/etc/machine-id"
rm -f "$root/etc/hostname"
echo localhost >"$root/etc/hostname"
# root= is the kernel's business in a machine and the runtime's in a container
: >"$root/etc/fstab"

mkdir -p "$root/etc/cloud/cloud.cfg.d"
printf 'policy: enabled\n' >"$root/etc/cloud/ds-identify.cfg"
cat >"$root/etc/cloud/cloud.cfg.d/90_trilith.cfg" <<'CFG'
# ConfigDrive looks for a disk labelled config-2, and for the folder /config-drive that a container gets
datasource_list: [ConfigDrive, OpenStack, None]
datasource:
  OpenStack:
    max_wait: 60
    timeout: 5
    retries: 3
# RSA keys take seconds on an emulated CPU, and no client of this decade needs them
ssh_genkeytypes: [ed25519, ecdsa]
apt:
  preserve_sources_list: true
locale: C.UTF-8
manage_etc_hosts: true
# the root file system is the whole disk
growpart:
  mode: 'off'
resize_rootfs: true
# all that users write in cloud-config, without what concerns other distributions and configuration services
cloud_init_modules: [seed_random, bootcmd, write-files, growpart, resizefs, disk_setup, mounts, set_hostname, update_hostname, update_etc_hosts, ca-certs, rsyslog, users-groups, ssh]
cloud_config_modules: [ssh-import-id, keyboard, locale, set-passwords, apt-configure, ntp, timezone, disable-ec2-metadata, runcmd, byobu]
cloud_final_modules: [package-update-upgrade-install, write-files-deferred, scripts-vendor, scripts-per-once, scripts-per-boot, scripts-per-instance, scripts-user, ssh-authkey-fingerprints, keys-to-console, phone-home, final-message, power-state-change]
CFG

# no server answers before one NIC is up, and none waits for all of them
mkdir -p "$unit/systemd-networkd-wait-online.service.d"
cat >"$unit/systemd-networkd-wait-online.service.d/trilith.conf" <<'CFG'
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=60
CFG
# the network answers for its servers' bare names; without the first no question with a single label leaves the guest,
# and with multicast each waits seconds for neighbours that never answer
mkdir -p "$root/etc/systemd/resolved.conf.d"
printf '[Resolve]\nResolveUnicastSingleLabel=yes\nLLMNR=no\nMulticastDNS=no\n' >"$root/etc/systemd/resolved.conf.d/trilith.conf"
# a container is not allowed these, and a unit that fails makes the whole system "degraded"
for mount in sys-kernel-debug sys-kernel-tracing; do
    mkdir -p "$unit/$mount.mount.d"
    printf '[Unit]\nConditionVirtualization=!container\n' >"$unit/$mount.mount.d/trilith.conf"
done
for enabled in systemd-networkd.service systemd-networkd-wait-online.service systemd-resolved.service ssh.service; do
    chroot "$root" systemctl enable "$enabled" 2>/dev/null || echo "no $enabled" >&2
done
for idle in e2scrub_reap.service e2scrub_all.timer apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    systemd-pstore.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount getty@tty1.service \
    systemd-networkd-persistent-storage.service; do
    ln -sf /dev/null "$unit/$idle"
done

rm -rf "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/* "$root"/var/log/*.log "$root"/var/log/apt \
    "$root"/usr/share/doc/* "$root"/usr/share/man/* "$root"/usr/share/info/* "$root"/tmp/* \
    "$root"/boot/*.old "$root"/boot/System.map-* "$root"/vmlinuz* "$root"/initrd.img*
find "$root/usr/share/locale" -mindepth 1 -maxdepth 1 ! -name 'en*' ! -name 'locale.alias' -exec rm -rf {} +
# not read by anything in a guest, and a third of its modules
rm -rf "$root"/lib/modules/*/kernel/drivers/infiniband "$root"/lib/modules/*/kernel/sound \
    "$root"/lib/modules/*/kernel/drivers/gpu "$root"/lib/modules/*/kernel/drivers/net/wireless
echo "root=/dev/vda rw console=tty0 console=ttyS0,115200 net.ifnames=0" >"$root/boot/cmdline"
