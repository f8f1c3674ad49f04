"""An OVSDB small enough to read: what RFC 7047's operations do to rows, with the northbound schema's references."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID

from trilith.drivers.ovn.rows import Op, Value

#: Tables whose rows go when nothing refers to them (no isRoot in ovn-nb.ovsschema).
LEAVES = {
    "Logical_Switch_Port", "Logical_Router_Port", "ACL", "NAT", "Logical_Router_Static_Route", "Gateway_Chassis",
    "QoS", "Logical_Router_Policy", "Meter_Band",
}  # fmt: skip
WEAK = {("Port_Group", "ports"), ("Logical_Switch", "dns_records"), ("Logical_Switch_Port", "dhcpv4_options"),
        ("Logical_Switch_Port", "dhcpv6_options")}  # fmt: skip


class Memory:
    """A `View` that runs operations."""

    def __init__(self) -> None:
        self.tables: dict[str, dict[UUID, dict[str, Value]]] = {}

    def get(self, table: str, row: UUID) -> dict[str, Value] | None:
        return self.tables.get(table, {}).get(row)

    def run(self, operations: list[Op]) -> None:
        for op in operations:
            rows = self.tables.setdefault(str(op["table"]), {})
            if op["op"] == "insert":
                row = UUID(str(op["uuid"]))
                assert row not in rows, f"duplicate uuid in {op['table']}"
                rows[row] = {k: decode(v) for k, v in op["row"].items()}  # type: ignore[attr-defined]
                continue
            row = UUID(op["where"][0][2][1])  # type: ignore[index]
            match op["op"]:
                case "wait":
                    for column, value in op["rows"][0].items():  # type: ignore[index]
                        assert rows[row][column] == decode(value), "lost race"
                case "update":
                    rows[row].update({k: decode(v) for k, v in op["row"].items()})  # type: ignore[attr-defined]
                case "delete":
                    further = op["where"][1:]  # type: ignore[index]
                    if not further or (row in rows and all(rows[row].get(c) == decode(v) for c, _, v in further)):
                        del rows[row]
                case "mutate" if row in rows:
                    for column, how, value in op["mutations"]:  # type: ignore[attr-defined]
                        kept = [m for m in rows[row].get(column, []) if m not in decode(value)]  # type: ignore[union-attr, operator]
                        rows[row][column] = kept + (decode(value) if how == "insert" else [])  # type: ignore[operator]
        while self._collect():
            pass

    def _collect(self) -> bool:
        strong = {m for t, c, m in self._references() if (t, c) not in WEAK}
        gone = {(t, r) for t in LEAVES for r in self.tables.get(t, {}) if r not in strong}
        for table, row in gone:
            del self.tables[table][row]
        there = {r for rows in self.tables.values() for r in rows}
        for table, column in WEAK:
            for columns in self.tables.get(table, {}).values():
                if column in columns:
                    columns[column] = [m for m in columns[column] if m in there]  # type: ignore[union-attr]
        for _, _, member in self._references():
            assert member in there, "referential integrity violation"
        return bool(gone)

    def _references(self) -> Iterator[tuple[str, str, UUID]]:
        for table, rows in self.tables.items():
            for columns in rows.values():
                for column, value in columns.items():
                    if isinstance(value, list):
                        yield from ((table, column, m) for m in value if isinstance(m, UUID))

    def dump(self) -> dict[str, list[dict[str, object]]]:
        """Rows by table, sorted, each reference replaced by what the row is called."""
        names = {row: _name(table, columns) for table, rows in self.tables.items() for row, columns in rows.items()}

        def show(value: Value) -> object:
            if isinstance(value, dict):
                return dict(sorted(value.items()))
            if isinstance(value, list):
                return sorted((names[m] if isinstance(m, UUID) else m for m in value), key=str)
            return value

        found = {}
        for table, rows in sorted(self.tables.items()):
            shown = [{k: show(v) for k, v in sorted(columns.items())} for columns in rows.values()]
            if shown:
                found[table] = sorted(shown, key=str)
        return found


def _name(table: str, columns: dict[str, Value]) -> str:
    said = columns.get("name") or columns.get("match") or columns.get("external_ip") or columns.get("ip_prefix")
    if said is None:
        ids = columns["external_ids"]
        assert isinstance(ids, dict)
        said = f"{ids['trilith:kind']} {ids['trilith:id']}"
    return f"{table}: {said}"


def decode(value: object) -> Value:
    if isinstance(value, list):
        kind, inside = value
        if kind == "uuid":
            return UUID(inside)
        return dict(inside) if kind == "map" else [decode(v) for v in inside]  # type: ignore[return-value]
    return value  # type: ignore[return-value]
