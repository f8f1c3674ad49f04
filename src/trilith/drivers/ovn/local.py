"""The node's own virtual switch, over its local OVSDB: a port in and out, in a few milliseconds."""

from __future__ import annotations

import fcntl
import logging
import socket
import struct
from collections.abc import Callable, Mapping
from uuid import UUID, uuid4

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.database import Database, Record, Replica
from trilith.drivers.ovn.rows import Op, Value
from trilith.errors import Backend, Conflict, Deadline, Invalid

_LOG = logging.getLogger(__name__)

TABLES = {
    "Open_vSwitch": ("bridges", "external_ids", "next_cfg", "cur_cfg"),
    "Bridge": ("name", "ports", "external_ids", "datapath_type"),
    "Port": ("name", "interfaces", "external_ids"),
    "Interface": ("name", "type", "external_ids", "ofport", "error"),
}
#: Seconds that ovs-vswitchd gets to let a port go before one of the same name is added.
_LET_GO = 3.0
#: Seconds that ovs-vswitchd gets to take a device over, as long as a busy host lets it wait for a CPU.
_TAKE_OVER = 30.0
#: linux/sockios.h, net/if.h
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
#: Bytes of a Linux interface's name.
_IFNAMSIZ = 15


class OvsLocalSwitch:
    """`LocalSwitch` over Open vSwitch. Make with `connect_local`."""

    def __init__(self, database: Database, *, cloud_id: str, bridge: str) -> None:
        self._db = database
        self.cloud_id = cloud_id
        self.remote = database.remote
        self.bridge = bridge
        self._unplugged: dict[str, int] = {}  # ifname → the configuration without it

    async def plug(self, *, ifname: str, port_id: str, mac: str) -> None:
        """Idempotent: already plugged for the same port and MAC, it is left alone, so that traffic goes on.

        Raises Conflict where the name is in use for something else, Invalid for a name that Linux refuses.
        """
        await self._plug(ifname, port_id, mac, kind="")

    async def plug_internal(self, *, ifname: str, port_id: str, mac: str) -> None:
        """The same with an interface that the switch makes itself (kernel datapath, or a tap on netdev)."""
        await self._plug(ifname, port_id, mac, kind="internal")

    async def unplug(self, ifname: str) -> None:
        """Return once ovs-vswitchd has let the device go: one of the same name may be made then, and not before.

        As long as it holds the old one, it writes its flags back by name, and so takes the new one down.
        """
        await self._remove(ifname, lambda replica: self._drop(replica, ifname))
        await self._gone(ifname)

    async def plugged(self) -> dict[str, str]:
        def look(replica: Replica) -> dict[str, str]:
            found = {}
            for row in replica.records("Interface"):
                ids = rows.external_ids(row)
                if ids.get(rows.CLOUD) == self.cloud_id and "iface-id" in ids:
                    found[str(row["name"])] = ids["iface-id"]
            return found

        return await self._db.read(look)

    async def wait_attached(self, ifname: str, *, timeout: float) -> None:
        """Return once ovs-vswitchd has the device on the bridge. Raises Backend with its words, Deadline."""

        def attached(replica: Replica) -> bool | None:
            row = _interface(replica, ifname)
            if row is None:
                raise Backend(f"{ifname} is not plugged.")
            ofport = row["ofport"]
            return True if isinstance(ofport, list) and ofport and int(str(ofport[0])) > 0 else None

        await self._db.wait_until(attached, timeout=timeout)

    async def raise_link(self, ifname: str) -> None:
        """ovs-vswitchd makes the device promiscuous with the flags that it last saw: a link that was raised since is
        down again then. Once the device is on the bridge this is over, and up stays up."""
        await self.wait_attached(ifname, timeout=_TAKE_OVER)
        _raise_link(ifname)

    async def close(self) -> None:
        await self._db.close()

    async def _plug(self, ifname: str, port_id: str, mac: str, *, kind: str) -> None:
        if not 0 < len(ifname.encode()) <= _IFNAMSIZ or "/" in ifname:
            raise Invalid(f"{ifname!r} is no name for an interface (1 to {_IFNAMSIZ} bytes).", field="ifname")
        ids = {"iface-id": port_id, "attached-mac": mac, "iface-status": "active", rows.CLOUD: self.cloud_id}

        def stale(replica: Replica) -> list[Op]:
            row = _interface(replica, ifname)
            same = row is not None and dict(rows.external_ids(row)) == ids and not row["error"]
            return [] if row is None or same else self._drop(replica, ifname)

        def add(replica: Replica) -> list[Op]:
            return [] if _interface(replica, ifname) is not None else self._add(replica, ifname, ids, kind)

        await self._remove(ifname, stale)
        await self._gone(ifname)
        await self._db.transact(add)

    async def _remove(self, ifname: str, compose: Callable[[Replica], list[Op]]) -> None:
        removed = False

        def drop(replica: Replica) -> list[Op]:
            nonlocal removed
            ops = compose(replica)
            removed = bool(ops)
            root = next(replica.records("Open_vSwitch"), None)
            return [*ops, rows.increment("Open_vSwitch", root.id, "next_cfg")] if ops and root else ops

        await self._db.transact(drop)
        if removed:
            self._unplugged[ifname] = await self._db.read(lambda replica: _configuration(replica, "next_cfg"))

    async def _gone(self, ifname: str) -> None:
        configuration = self._unplugged.get(ifname)
        if configuration is not None:
            await self._let_go(configuration)
            self._unplugged.pop(ifname, None)

    async def _let_go(self, configuration: int) -> None:
        """The userspace datapath attaches a re-created device only if it saw the port of that name go."""
        try:
            await self._db.wait_until(
                lambda replica: _configuration(replica, "cur_cfg") >= configuration or None, timeout=_LET_GO
            )
        except Deadline:
            # ovs-vswitchd is down; when it comes up it opens every device anew
            _LOG.warning("ovs-vswitchd did not take over configuration %d in %g s", configuration, _LET_GO)

    def _add(self, replica: Replica, ifname: str, ids: Mapping[str, str], kind: str) -> list[Op]:
        bridge = _named(replica, "Bridge", self.bridge)
        if bridge is None:
            raise Backend(f"There is no bridge {self.bridge}.", hint="Is the network of this node set up?")
        interface, port = uuid4(), uuid4()
        return [
            rows.insert("Interface", interface, {"name": ifname, "type": kind, "external_ids": ids}),
            rows.insert(
                "Port",
                port,
                {"name": ifname, "interfaces": [interface], "external_ids": {rows.CLOUD: self.cloud_id}},
            ),
            rows.add_to("Bridge", bridge.id, "ports", [port]),
        ]

    def _drop(self, replica: Replica, ifname: str) -> list[Op]:
        port = _named(replica, "Port", ifname)
        if port is None:
            return []
        if rows.external_ids(port).get(rows.CLOUD) != self.cloud_id:
            raise Conflict(f"Port {ifname} of the switch is not this cloud's.")
        return [
            rows.take_from("Bridge", bridge.id, "ports", [port.id])
            for bridge in replica.records("Bridge")
            if port.id in _uuids(bridge["ports"])
        ]


def _raise_link(ifname: str) -> None:
    """netdevice(7). Raises Backend."""
    name = ifname.encode().ljust(_IFNAMSIZ + 1, b"\0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        try:
            known = fcntl.ioctl(control, _SIOCGIFFLAGS, struct.pack("16sH22x", name, 0))
            flags = struct.unpack_from("H", known, 16)[0]
            if not flags & _IFF_UP:
                fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sH22x", name, flags | _IFF_UP))
        except OSError as error:
            raise Backend(f"The link of {ifname} cannot be raised: {error.strerror}.") from error


def _interface(replica: Replica, name: str) -> Record | None:
    return _named(replica, "Interface", name)


def _configuration(replica: Replica, column: str) -> int:
    root = next(replica.records("Open_vSwitch"), None)
    return 0 if root is None else int(str(root[column]))


def _named(replica: Replica, table: str, name: str) -> Record | None:
    # a node has hundreds of ports, not thousands: a scan costs less than keeping an index
    return next((row for row in replica.records(table) if row["name"] == name), None)


def _uuids(value: Value) -> list[UUID]:
    return [v for v in value if isinstance(v, UUID)] if isinstance(value, list) else []


async def connect_local(db: str, *, cloud_id: str, bridge: str = "br-int", timeout: float = 10.0) -> OvsLocalSwitch:
    """Connect to the node's own OVSDB (`unix:/…/db.sock`). Raises Backend."""
    database = await Database.open(db, "Open_vSwitch", TABLES, timeout=timeout)
    return OvsLocalSwitch(database, cloud_id=cloud_id, bridge=bridge)
