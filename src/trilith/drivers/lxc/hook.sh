#!/bin/sh
# Run by the container's monitor, with Trilith there or not: hook.sh start|stop NAME DIRECTORY
# Records the state for whoever watches DIRECTORY/run, and puts back the network of a container that restarted
# itself. Only built-in commands unless there is something to do: each process here delays every start.
PATH=/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin
run=$3/run/$2
. "$3/ct/$2/hook.conf" # OVS_DB, BRIDGE, OFFLOAD_OFF, NICS ("host-end=guest-end ...")
vsctl() { ovs-vsctl --timeout=5 "--db=$OVS_DB" "$@"; }

case $1 in
start)
    kind=
    [ -e "$run.end" ] && read -r kind _ <"$run.end"
    read -r stat <"/proc/$LXC_PID/stat"
    read -r boot </proc/sys/kernel/random/boot_id
    # shellcheck disable=SC2086
    set -- "$1" "$2" "$3" ${stat##*)}
    # interfaces added or removed since the monitor read its configuration
    if [ -s "$run.nics" ]; then
        while read -r what ifname mtu guest mac; do
            ip link del "$ifname" 2>/dev/null
            [ "$what" = add ] || continue
            ip link add name "$ifname" mtu "$mtu" type veth peer name "$guest" address "$mac" mtu "$mtu" netns "$LXC_PID"
            ip link set "$ifname" up
        done <"$run.nics"
    fi
    if [ -n "$OFFLOAD_OFF" ]; then
        # the userspace datapath hands packets on as they are: without this no TCP checksum is ever filled in
        for nic in $NICS; do
            nsenter -t "$LXC_PID" -n ethtool -K "${nic#*=}" tx off >/dev/null
        done
    fi
    if [ -n "$OVS_DB" ]; then
        for nic in $NICS; do
            port=${nic%%=*}
            [ -s "$run.port.$port" ] || continue
            read -r ids <"$run.port.$port"
            vsctl --no-wait --may-exist add-port "$BRIDGE" "$port" -- set Port "$port" "external_ids=$ids" \
                -- set Interface "$port" "external_ids=$ids"
            : >"$run.port.$port"
        done
    fi
    echo "$LXC_PID ${23} $boot ${kind:-stop}" >"$run.run"
    : >"$run.end"
    ;;
stop)
    if [ -n "$OVS_DB" ]; then
        for nic in $NICS; do
            # a transaction of its own: a device of the same name is attached again only after the port has been away
            port=${nic%%=*}
            ids=$(vsctl --if-exists get Interface "$port" external_ids) || continue
            [ -n "$ids" ] || continue
            echo "$ids" >"$run.port.$port"
            vsctl --if-exists del-port "$BRIDGE" "$port"
        done
    fi
    echo "${LXC_TARGET:-stop} $LXC_NAME" >"$run.end"
    ;;
esac
exit 0
