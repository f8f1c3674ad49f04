"""The southbound database: where ports are bound, and which chassis there are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from uuid import UUID

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.database import Database, Record, Replica
from trilith.errors import Backend, Deadline
from trilith.model.topology import Binding, Chassis

TABLES = {
    "Port_Binding": ("logical_port", "type", "chassis", "up", "external_ids"),
    "Chassis": ("name", "hostname", "encaps", "other_config", "external_ids"),
    "Chassis_Private": ("name", "nb_cfg"),
    "Encap": ("type", "ip"),
}


class Southbound:
    """Follows Port_Binding, and keeps the present state of each of this cloud's ports."""

    def __init__(self, database: Database, cloud: str) -> None:
        self.database = database
        self._cloud = cloud
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, Binding] = {}  # used in the database's thread only
        self._subscribers: set[_Changes] = set()  # used in the loop only
        self.chassis_changed = asyncio.Event()

    async def start(self) -> None:
        await self.database.watch(self._seen, self._resync)

    async def wait_up(self, port_ids: Sequence[str], *, timeout: float) -> None:
        left = set(port_ids)

        def all_up(_: Replica) -> bool | None:
            left.difference_update([p for p in left if p in self._known and self._known[p].up])
            return None if left else True

        try:
            await self.database.wait_until(all_up, timeout=timeout)
        except Deadline:
            names = ", ".join(sorted(left))
            raise Deadline(
                f"Ports are not up after {timeout:g} s: {names}.",
                hint="Is the interface plugged on the node, and ovn-controller running there?",
            ) from None

    async def bindings(self) -> AsyncIterator[Binding]:
        changes = _Changes()
        self._subscribers.add(changes)
        try:
            for binding in await self.database.read(lambda _: list(self._known.values())):
                # what came meanwhile is newer than this snapshot
                changes.pending.setdefault(binding.port_id, binding)
            changes.event.set()
            while True:
                await changes.event.wait()
                changes.event.clear()
                pending, changes.pending = changes.pending, {}
                for binding in pending.values():
                    yield binding
        finally:
            self._subscribers.discard(changes)

    async def chassis(self) -> list[Chassis]:
        return await self.database.read(known_chassis)

    async def lagging(self, number: int) -> list[str]:
        """Names of the chassis that have not yet put the configuration `number` in force."""

        def look(replica: Replica) -> list[str]:
            behind = (r for r in replica.records("Chassis_Private") if int(str(r["nb_cfg"])) < number)
            return sorted(str(r["name"]) for r in behind)

        return await self.database.read(look)

    # ---- in the database's thread

    def _seen(self, event: str, table: str, row: Record | None) -> None:
        if row is None or table == "Chassis":
            self._loop.call_soon_threadsafe(self.chassis_changed.set)
        if row is None:
            self._resync(None)
        elif table == "Port_Binding":
            self._note(self._binding(row), gone=event == "delete")

    def _resync(self, replica: Replica | None) -> None:
        """After a reconnect deletions were not told, so all is compared."""
        records = (replica or Replica(self.database._idl)).records("Port_Binding")
        now = {b.port_id: b for b in map(self._binding, records) if b is not None}
        for port_id in [p for p in self._known if p not in now]:
            self._note(self._known[port_id], gone=True)
        for binding in now.values():
            self._note(binding, gone=False)

    def _binding(self, row: Record) -> Binding | None:
        ids = rows.external_ids(row)
        if ids.get(rows.CLOUD) != self._cloud or ids.get(rows.KIND) != "port":
            return None
        port_id, up, chassis = str(row["logical_port"]), row["up"] == [True], row["chassis"]
        if not isinstance(chassis, list) or not chassis:
            return Binding(port_id=port_id, up=False)
        where = Replica(self.database._idl).get("Chassis", chassis[0])
        return Binding(port_id=port_id, up=up, chassis="" if where is None else str(where["name"]))

    def _note(self, binding: Binding | None, *, gone: bool) -> None:
        if binding is None:
            return
        if gone:
            self._known.pop(binding.port_id, None)
            binding = Binding(port_id=binding.port_id, up=False)
        elif self._known.get(binding.port_id) == binding:
            return
        else:
            self._known[binding.port_id] = binding
        self._loop.call_soon_threadsafe(self._publish, binding)

    # ---- in the loop

    def _publish(self, binding: Binding) -> None:
        for changes in self._subscribers:
            changes.pending[binding.port_id] = binding
            changes.event.set()


class _Changes:
    """What one reader has not seen yet: the last state a port, so a slow reader costs bounded memory."""

    def __init__(self) -> None:
        self.pending: dict[str, Binding] = {}
        self.event = asyncio.Event()


def known_chassis(replica: Replica) -> list[Chassis]:
    found = []
    for row in replica.records("Chassis"):
        # 20.12 moved what a chassis says of itself from external_ids to other_config
        said: Mapping[str, str] = {**rows.external_ids(row), **_mapping(row, "other_config")}
        mappings = said.get("ovn-bridge-mappings", "")
        options = said.get("ovn-cms-options", "").split(",")
        encaps = row["encaps"]
        found.append(
            Chassis(
                name=str(row["name"]),
                hostname=str(row["hostname"]),
                encaps=tuple(sorted({_encap(replica, e) for e in encaps}) if isinstance(encaps, list) else ()),
                physical_networks=tuple(m.partition(":")[0] for m in mappings.split(",") if m),
                gateway="enable-chassis-as-gw" in options,
            )
        )
    return sorted(found, key=lambda c: c.name)


def _encap(replica: Replica, row: object) -> str:
    found = replica.get("Encap", row) if isinstance(row, UUID) else None
    if found is None:
        raise Backend("The southbound database has a chassis without its encapsulation.")
    return f"{found['type']}:{found['ip']}"


def _mapping(row: Record, column: str) -> Mapping[str, str]:
    return rows.texts(row, column)
