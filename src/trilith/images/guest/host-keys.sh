#!/bin/busybox sh
# Two host keys, made at the first boot. RSA is left out: it takes seconds on an emulated CPU.
. /usr/lib/tiny/lib.sh
umask 077
mkdir -p /etc/dropbear
for type in ed25519 ecdsa; do
    key=/etc/dropbear/dropbear_${type}_host_key
    [ -s "$key" ] && continue
    dropbearkey -t "$type" -f "$key.new" >/dev/null 2>&1 && mv "$key.new" "$key"
    say "ssh host key $(dropbearkey -y -f "$key" | sed -n 's/^Fingerprint: //p') ($type)"
done
