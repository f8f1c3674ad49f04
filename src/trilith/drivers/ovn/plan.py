"""A batch of changes turned into the operations of one OVSDB transaction, against a view of what is there.

Pure: the view is the IDL's replica in the driver and a dict in the golden tests. Each noun of the batch is guarded by
the revision in its external_ids, both here and in the transaction itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol
from uuid import UUID

from trilith.drivers.ovn import rows
from trilith.drivers.ovn.rows import Op, Row, Value
from trilith.errors import Missing
from trilith.model.topology import (
    AddressGroupSpec,
    Change,
    Ensure,
    NetworkSpec,
    Noun,
    PortSpec,
    Remove,
    RouterSpec,
    SecurityGroupSpec,
)


class View(Protocol):
    """What is in the database now."""

    def get(self, table: str, row: UUID) -> Row | None: ...


class Plan:
    """Operations so far, and the rows as they will be once these are done."""

    def __init__(self, view: View, *, cloud: str, gateway_chassis: Sequence[str] = ()) -> None:
        self.cloud = cloud
        self.gateway_chassis = tuple(gateway_chassis)
        self.checks: list[Op] = []
        self.ops: list[Op] = []
        self._guarded: set[tuple[str, UUID]] = set()
        self._last: dict[tuple[str, UUID, str], None] = {}
        self._members: dict[tuple[str, UUID, str], dict[UUID, bool]] = {}  # column → member → in or out
        self._view = view
        self._staged: dict[tuple[str, UUID], dict[str, Value] | None] = {}

    @property
    def operations(self) -> list[Op]:
        """The checks come first: a lost race costs nothing. None where nothing changes.

        Members of one column are in one mutation each way: ovsdb-server sorts the whole set at each.
        """
        members: list[Op] = []
        for (table, row, column), changes in self._members.items():
            out = [member for member, inside in changes.items() if not inside]
            into = [member for member, inside in changes.items() if inside]
            members += [rows.take_from(table, row, column, out)] if out else []
            members += [rows.add_to(table, row, column, into)] if into else []
        ops = [*self.ops, *members, *(rows.delete_if_empty(*which) for which in self._last)]
        return [*self.checks, *ops] if ops else []

    def get(self, table: str, row: UUID) -> Row | None:
        if (table, row) in self._staged:
            return self._staged[table, row]
        return self._view.get(table, row)

    def ours(self, table: str, row: UUID, what: str) -> Row | None:
        """The row if it is there. Raises Conflict if it is somebody else's."""
        found = self.get(table, row)
        if found is not None:
            rows.check_ours(found, self.cloud, what)
        return found

    def guard(self, table: str, row: UUID, found: Row) -> None:
        """Let the transaction fail if another writer changes the row's revision first."""
        if (table, row) not in self._staged and (table, row) not in self._guarded:
            self._guarded.add((table, row))
            self.checks.append(rows.unchanged(table, row, {"external_ids": dict(rows.external_ids(found))}))

    def put(self, table: str, row: UUID, columns: Mapping[str, Value]) -> bool:
        """Insert the row or update these columns; True if it is new."""
        found = self.get(table, row)
        staged = dict(columns) if found is None else {**_copy(found, columns), **columns}
        self.ops.append((rows.insert if found is None else rows.update)(table, row, columns))
        self._staged[table, row] = staged
        return found is None

    def once(self, table: str, row: UUID, columns: Mapping[str, Value]) -> UUID:
        """A row that is only its content: inserted if it is not there yet."""
        if self.get(table, row) is None:
            self.ops.append(rows.insert(table, row, columns))
            self._staged[table, row] = dict(columns)
        return row

    def drop_root(self, table: str, row: UUID) -> None:
        """Delete a row of a root table (others go when nothing refers to them)."""
        if self.get(table, row) is not None:
            self.ops.append(rows.delete(table, row))
            self._staged[table, row] = None

    def add_to(self, table: str, row: UUID, column: str, member: UUID) -> None:
        self._members.setdefault((table, row, column), {})[member] = True

    def take_from(self, table: str, row: UUID, column: str, member: UUID) -> None:
        self._members.setdefault((table, row, column), {})[member] = False

    def drop_if_empty(self, table: str, row: UUID, column: str) -> None:
        """Delete the row if the column has no member left once all else is done; ovsdb-server looks, not the view."""
        self._last[table, row, column] = None

    def switch(self, network_id: str) -> tuple[UUID, Row]:
        """A network's logical switch. Raises Missing."""
        row = rows.row_id(network_id)
        found = self.get("Logical_Switch", row)
        if found is None:
            raise Missing(
                f"Network {network_id} is not in the northbound database.", hint="Apply it before or with its ports."
            )
        return row, found

    def newer(self, table: str, row: UUID, revision: int, what: str) -> bool:
        """True if the change must be skipped because a newer revision is stored; else the row is guarded."""
        found = self.ours(table, row, what)
        if found is None:
            return False
        if rows.revision_of(found) > revision:
            return True
        self.guard(table, row, found)
        return False


def _copy(found: Row, but: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in found.items() if name not in but}


def kind_of(noun: Noun) -> str:
    match noun:
        case NetworkSpec():
            return "network"
        case PortSpec():
            return "port"
        case RouterSpec():
            return "router"
        case SecurityGroupSpec():
            return "security_group"
        case AddressGroupSpec():
            return "address_group"


def settle(changes: Sequence[Change]) -> list[Change]:
    """One change a noun, in an order that always works: what others stand on first, removals last and leaves first."""
    last: dict[tuple[str, str], Change] = {}
    for change in changes:
        if isinstance(change, Remove):
            last[change.kind, change.id] = change
            continue
        key = kind_of(change.noun), change.noun.id
        before = last.get(key)
        if not (isinstance(before, Ensure) and before.noun.revision > change.noun.revision):
            last[key] = change
    return sorted(last.values(), key=_rank)


_ROOTS_FIRST = {"network": 0, "address_group": 1, "security_group": 2, "port": 3, "router": 4}


def _rank(change: Change) -> int:
    if isinstance(change, Remove):
        return 10 - _ROOTS_FIRST.get(change.kind, 0)
    return _ROOTS_FIRST[kind_of(change.noun)]
