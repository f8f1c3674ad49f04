# Shared by the start-up scripts; sourced, never run.
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
state=/var/lib/tiny

say() {
    if [ -w /dev/console ]; then echo "tiny: $*" >/dev/console; else echo "tiny: $*"; fi
}

# liblxc and systemd-nspawn put container= into the environment of the first process.
in_container() { tr '\0' '\n' </proc/1/environ 2>/dev/null | grep -q '^container='; }

# value of a path in a flattened file (see json.sh); the first where there are several
field() { awk -F '\t' -v path="$2" '$1 == path { print $2; exit }' "$1"; }

mounted() { [ -r /proc/mounts ] && awk -v place="$1" '$2 == place { found = 1 } END { exit !found }' /proc/mounts; }
