"""The network driver: batches of nouns into the northbound database, port bindings out of the southbound one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.bindings import TABLES as SOUTHBOUND_TABLES
from trilith.drivers.ovn.bindings import Southbound
from trilith.drivers.ovn.database import Database, Replica
from trilith.drivers.ovn.groups import ensure_addresses, ensure_group, remove_addresses, remove_group
from trilith.drivers.ovn.networks import ensure_network, remove_network
from trilith.drivers.ovn.plan import Plan, View, settle
from trilith.drivers.ovn.ports import ensure_port, remove_port
from trilith.drivers.ovn.routers import ensure_router, remove_router, reschedule_gateways
from trilith.drivers.ovn.rows import Op
from trilith.errors import Backend, Deadline, Invalid
from trilith.model.topology import (
    AddressGroupSpec,
    Binding,
    Change,
    Chassis,
    NetworkSpec,
    Noun,
    Owned,
    PortSpec,
    Remove,
    RouterSpec,
    SecurityGroupSpec,
)

_LOG = logging.getLogger(__name__)

#: Columns that are read. ACLs, NAT and routes are written by content and only ever asked whether they exist.
TABLES = {
    "NB_Global": ("nb_cfg", "hv_cfg", "sb_cfg"),
    "Logical_Switch": ("name", "ports", "external_ids"),
    "Logical_Switch_Port": ("name", "type", "external_ids"),
    "Logical_Router": ("name", "external_ids"),
    "Logical_Router_Port": ("name", "gateway_chassis", "external_ids"),
    "Port_Group": ("name", "external_ids"),
    "DHCP_Options": ("cidr", "options", "external_ids"),
    "DNS": ("external_ids",),
    "Gateway_Chassis": ("chassis_name",),
    "Address_Set": ("name", "external_ids"),
    "Load_Balancer": ("name", "external_ids"),
    "Logical_Router_Policy": ("priority",),
    "Meter": ("name",),
    "Meter_Band": ("rate",),
    "QoS": ("priority",),
    "ACL": ("priority",),
    "NAT": ("type",),
    "Logical_Router_Static_Route": ("nexthop",),
}

_KINDS = {
    "network": "Logical_Switch",
    "port": "Logical_Switch_Port",
    "router": "Logical_Router",
    "security_group": "Port_Group",
    "address_group": "Address_Set",
}
_REMOVE: dict[str, Callable[[Plan, str], None]] = {
    "network": remove_network,
    "port": remove_port,
    "router": remove_router,
    "security_group": remove_group,
    "address_group": remove_addresses,
}


def compose(view: View, changes: Sequence[Change], *, cloud: str, gateway_chassis: Sequence[str] = ()) -> list[Op]:
    """The operations of one transaction for a batch. Raises Missing, Conflict, Invalid, Unsupported."""
    plan = Plan(view, cloud=cloud, gateway_chassis=gateway_chassis)
    for change in settle(changes):
        if isinstance(change, Remove):
            remove = _REMOVE.get(change.kind)
            if remove is None:
                raise Invalid(f"There is no network noun {change.kind!r}.", field="kind")
            remove(plan, change.id)
        else:
            _ensure(plan, change.noun)
    return plan.operations


def _ensure(plan: Plan, noun: Noun) -> None:
    match noun:
        case NetworkSpec():
            ensure_network(plan, noun)
        case SecurityGroupSpec():
            ensure_group(plan, noun)
        case AddressGroupSpec():
            ensure_addresses(plan, noun)
        case PortSpec():
            ensure_port(plan, noun)
        case RouterSpec():
            ensure_router(plan, noun)


class OvnNorthbound:
    """`NetworkDriver` over OVN. Make with `connect`."""

    def __init__(self, nb: Database, sb: Southbound, *, cloud_id: str, gateway_chassis: Sequence[str] | None) -> None:
        self._nb = nb
        self._sb = sb
        self._cloud = cloud_id
        self._gateways = None if gateway_chassis is None else tuple(gateway_chassis)
        self._follower = asyncio.create_task(self._follow_chassis(), name="gateway chassis")

    async def apply(self, changes: Sequence[Change]) -> None:
        """All in one transaction. Also raises Missing (a port without its network) and Conflict (another cloud's
        row); then, too, nothing is in."""
        if not changes:
            return
        gateways = await self._gateway_chassis()
        await self._nb.transact(
            lambda replica: compose(replica, changes, cloud=self._cloud, gateway_chassis=gateways), timeout=30
        )
        if await self._gateway_chassis() != gateways:
            self._sb.chassis_changed.set()  # they changed in between, and were told before the router was there

    async def owned(self) -> list[Owned]:
        def look(replica: Replica) -> list[Owned]:
            found = []
            for kind, table in _KINDS.items():
                for row in replica.records(table):
                    ids = rows.external_ids(row)
                    if ids.get(rows.CLOUD) == self._cloud and ids.get(rows.KIND) == kind:
                        found.append(Owned(kind=kind, id=ids[rows.ID], revision=rows.revision_of(row)))
            return found

        return await self._nb.read(look)

    async def wait_up(self, port_ids: Sequence[str], *, timeout: float) -> None:
        await self._sb.wait_up(port_ids, timeout=timeout)

    def bindings(self) -> AsyncIterator[Binding]:
        return self._sb.bindings()

    async def chassis(self) -> list[Chassis]:
        return await self._sb.chassis()

    async def wait_applied(self, *, timeout: float) -> None:
        """By ovn-nbctl's own protocol: raise nb_cfg, and wait until hv_cfg has come after it (ovn-nb(5))."""

        def bump(replica: Replica) -> list[Op]:
            row = next(replica.records("NB_Global"), None)
            if row is None:
                raise Backend("The northbound database has no NB_Global row.", hint="Is ovn-northd running?")
            return [rows.increment("NB_Global", row.id, "nb_cfg")]

        # northd makes the row when it first connects
        await self._nb.wait_until(lambda replica: next(replica.records("NB_Global"), None), timeout=timeout)
        await self._nb.transact(bump, timeout=timeout)
        # ovsdb-server sends the update before the answer: the number read here is ours or a later one
        number = await self._nb.read(lambda replica: _counter(replica, "nb_cfg"))
        try:
            await self._nb.wait_until(lambda replica: _counter(replica, "hv_cfg") >= number or None, timeout=timeout)
        except Deadline:
            behind = ", ".join(await self._sb.lagging(number)) or "none: ovn-northd itself"
            raise Deadline(
                f"Not in force everywhere after {timeout:g} s; chassis that lag: {behind}.",
                hint="Look at ovn-controller there, or delete a chassis that is gone for good.",
            ) from None

    async def close(self) -> None:
        self._follower.cancel()
        await asyncio.gather(self._follower, return_exceptions=True)
        await self._nb.close()
        await self._sb.database.close()

    async def _follow_chassis(self) -> None:
        """Chassis come and go after a router was made: its gateway follows them, if nobody said where it belongs."""
        while self._gateways is None:
            await self._sb.chassis_changed.wait()
            self._sb.chassis_changed.clear()
            try:
                await self._nb.transact(partial(self._rescheduled, await self._gateway_chassis()))
            except Backend as error:
                # the reconnect of either database tells again
                _LOG.warning("router gateways stay where they are: %s", error)

    def _rescheduled(self, gateways: Sequence[str], replica: Replica) -> list[Op]:
        plan = Plan(replica, cloud=self._cloud, gateway_chassis=gateways)
        reschedule_gateways(plan, ((row.id, row) for row in replica.records("Logical_Router_Port")))
        return plan.operations

    async def _gateway_chassis(self) -> tuple[str, ...]:
        """As configured; else those that offer themselves; else all that reach a physical network."""
        if self._gateways is not None:
            return self._gateways
        known = await self._sb.chassis()
        willing = [c.name for c in known if c.gateway] or [c.name for c in known if c.physical_networks]
        return tuple(willing)


def _counter(replica: Replica, column: str) -> int:
    row = next(replica.records("NB_Global"), None)
    return 0 if row is None else int(str(row[column]))


async def connect(
    nb: str, sb: str, *, cloud_id: str, gateway_chassis: Sequence[str] | None = None, timeout: float = 10.0
) -> OvnNorthbound:
    """Connect to both databases (`unix:…`, `tcp:…`, comma-separated for a cluster). Raises Backend.

    gateway_chassis: names of the chassis that may carry router gateways; None takes them from the southbound database.
    """
    north = await Database.open(nb, "OVN_Northbound", TABLES, timeout=timeout)
    try:
        south = Southbound(await Database.open(sb, "OVN_Southbound", SOUTHBOUND_TABLES, timeout=timeout), cloud_id)
        try:
            await south.start()
        except BaseException:
            await south.database.close()
            raise
    except BaseException:
        await north.close()
        raise
    return OvnNorthbound(north, south, cloud_id=cloud_id, gateway_chassis=gateway_chassis)
