#!/usr/bin/env bash
# Installs what Trilith needs on Debian 12 or Ubuntu 24.04: distribution packages (as root) and the Python package in
# .venv. Idempotent; says what it does; starts no service and leaves those of the host alone.
#   scripts/setup.sh            what `trilith up` needs
#   scripts/setup.sh --test     and what the tests need
#   scripts/setup.sh --list     names of the packages, and of the services of theirs that are not wanted; does nothing
set -euo pipefail
cd "$(dirname "$0")/.."
say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

test_too=no
case "${1:-}" in
  "" | --list) ;;
  --test) test_too=yes ;;
  *) die "there is no option $1; --test and --list there are" ;;
esac

. /etc/os-release 2>/dev/null || die "this is no Linux with /etc/os-release; Debian 12 or Ubuntu 24.04 is needed"
case "${ID:-}:${VERSION_ID:-}" in
  debian:12 | debian:13 | ubuntu:24.04 | ubuntu:24.10 | ubuntu:25.*) ;;
  *) die "${PRETTY_NAME:-this system} is not served yet; Debian 12 or Ubuntu 24.04 is needed" ;;
esac
[ "$(uname -m)" = x86_64 ] || die "only x86_64 is served yet, this is $(uname -m)"

runtime=(
  python3 python3-venv python3-dev gcc pkg-config libvirt-dev
  qemu-system-x86 qemu-utils libvirt-daemon-system libvirt-clients libvirt-daemon-driver-qemu
  lxc lxcfs uidmap openvswitch-switch ovn-central ovn-host
  mmdebstrap squashfs-tools btrfs-progs xfsprogs e2fsprogs zstd cpio genisoimage seabios
  busybox-static dropbear-bin iproute2 ethtool nftables dnsmasq-base openssh-client util-linux procps iputils-ping
)
for_tests=(postgresql libxml2-utils)
[ "$test_too" = yes ] && runtime+=("${for_tests[@]}")
# of these packages' services; Trilith runs daemons of its own in their place. lxc starts lxc-net, enabled or not
unwanted=(openvswitch-switch ovn-central ovn-host ovn-controller lxc lxc-net lxc-monitord postgresql)

if [ "${1:-}" = "--list" ]; then
  printf 'package %s\n' "${runtime[@]}"
  printf 'unwanted %s\n' "${unwanted[@]}"
  exit 0
fi

missing=()
for package in "${runtime[@]}"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  [ "$(id -u)" = 0 ] || die "these packages are missing, and only root can install them: ${missing[*]}"
  say "installing ${#missing[@]} packages: ${missing[*]}"
  # Packages that come with services start them. Trilith runs its own daemons, so none is started now, and those
  # that this script brings are not enabled for the next boot either.
  policy=/usr/sbin/policy-rc.d
  ours=no
  if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && ours=yes
  fi
  trap '[ "$ours" = yes ] && rm -f "$policy"' EXIT
  export DEBIAN_FRONTEND=noninteractive
  apt-get -q update >/dev/null || die "apt-get update failed; look at the host's apt sources"
  apt-get -q install -y --no-install-recommends "${missing[@]}" >/tmp/trilith-setup.$$.log 2>&1 ||
    { tail -n 20 /tmp/trilith-setup.$$.log >&2; die "apt-get could not install them (log: /tmp/trilith-setup.$$.log)"; }
  rm -f /tmp/trilith-setup.$$.log
  if [ -d /run/systemd/system ]; then
    for unit in "${unwanted[@]}"; do
      package=${unit/ovn-controller/ovn-host}; package=${package/lxc-*/lxc}
      case " ${missing[*]} " in *" $package "*) systemctl disable --now "$unit" >/dev/null 2>&1 || true ;; esac
    done
  fi
else
  say "all ${#runtime[@]} packages are there"
fi

if [ ! -x .venv/bin/python ]; then
  say "making .venv"
  /usr/bin/python3 -m venv .venv
fi
wanted=.
extras=kvm
[ "$test_too" = yes ] && extras=kvm,dev
mark=".venv/.trilith-$extras"
if [ ! -e "$mark" ] || [ pyproject.toml -nt "$mark" ]; then
  say "installing the Python package ($extras) into .venv"
  .venv/bin/python -m pip install -q --disable-pip-version-check -e "$wanted[$extras]"
  touch "$mark"
else
  say "the Python package is installed"
fi
# noVNC's package would bring Node.js and a proxy of its own: of it only the files are wanted, which browsers load.
# Without them the API refuses the console type novnc, and says so; all else works.
pages=.venv/share/novnc
if [ ! -e /usr/share/novnc/vnc.html ] && [ ! -e "$pages/vnc.html" ]; then
  folder=$(mktemp -d)
  chmod 755 "$folder" # apt fetches as an account of its own
  fetch() { (cd "$folder" && apt-get -q download novnc && dpkg-deb -x novnc_*.deb unpacked) >"$folder/log" 2>&1; }
  # a host whose package lists were cleaned away, as images of containers are, knows of no package until an update
  if fetch || { [ "$(id -u)" = 0 ] && apt-get -q update >/dev/null && fetch; }; then
    mkdir -p .venv/share && rm -rf "$pages" && cp -r "$folder/unpacked/usr/share/novnc" "$pages"
    say "put noVNC's files into $pages"
  else
    say "the package novnc could not be fetched, so there will be no VNC consoles in browsers: $(tail -n 1 "$folder/log")"
  fi
  rm -rf "$folder"
fi
say "done"
