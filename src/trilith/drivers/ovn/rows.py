"""OVSDB operations (RFC 7047, section 5.2) and the names and row ids that this driver gives to what it makes.

Every row has a UUID that follows from what it stands for (`insert` with `uuid`, an extension of ovsdb-server since
2.13), so a row is found without a search, two writers cannot insert the same thing twice, and rows without an
identity of their own (ACLs, routes, NAT) are named by their content: they never change, they only come and go.
"""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Iterable, Mapping, Sequence
from uuid import UUID

from trilith.errors import Conflict

#: Python values of columns: atoms, lists for sets, dicts for maps, UUID for references.
Value = (
    str
    | int
    | bool
    | UUID
    | Sequence[str]
    | Sequence[UUID]
    | Sequence[bool]
    | Sequence[int]
    | Mapping[str, str]
    | Mapping[str, int]
)
Row = Mapping[str, Value]
Json = object
Op = dict[str, Json]

CLOUD = "trilith:cloud"
KIND = "trilith:kind"
ID = "trilith:id"
REVISION = "trilith:revision"

_NAMESPACE = UUID("5b0d0a3c-8f0e-4c41-9b53-6b1f0c1f7a11")


def row_id(noun_id: str, part: str = "") -> UUID:
    """The row of a noun (its own id, where that is a UUID) or of one of its parts."""
    if not part:
        try:
            return UUID(noun_id)
        except ValueError:
            return uuid.uuid5(_NAMESPACE, noun_id)
    return uuid.uuid5(_NAMESPACE, f"{noun_id}|{part}")


def content_id(*parts: object) -> UUID:
    """The row of something that is only its content."""
    return uuid.uuid5(_NAMESPACE, "\x1f".join(map(str, parts)))


def derived_mac(seed: str) -> str:
    """A stable MAC in OpenStack's own prefix."""
    digest = hashlib.sha256(seed.encode()).digest()
    return "fa:16:3e:" + ":".join(f"{b:02x}" for b in digest[:3])


def address_set_name(group_id: str, version: int) -> str:
    """The address set of an address group's prefixes of one IP version."""
    return f"ag_{group_id.replace('-', '_')}_ip{version}"


def group_name(group_id: str) -> str:
    """A port group's name; OVN makes the address sets `<name>_ip4` and `<name>_ip6` of its members."""
    return "pg_" + group_id.replace("-", "_")


def router_port_name(port_id: str) -> str:
    return f"lrp-{port_id}"


def router_port_row(port_id: str) -> UUID:
    """The router's side of an interface; the switch's side is the port's own row."""
    return row_id(port_id, "router-port")


def marks(cloud: str, kind: str, noun_id: str, revision: int | None = None, **more: str) -> dict[str, str]:
    """external_ids of a row of ours. Empty extras are left out."""
    ids = {CLOUD: cloud, KIND: kind, ID: noun_id}
    if revision is not None:
        ids[REVISION] = str(revision)
    return ids | {f"trilith:{name}": value for name, value in more.items() if value}


def check_ours(row: Row, cloud: str, what: str) -> None:
    """Raise Conflict unless the row carries this cloud's id."""
    owner = external_ids(row).get(CLOUD, "")
    if owner != cloud:
        raise Conflict(f"{what} in the OVN database belongs to {owner or 'somebody else'}, not to this cloud.")


def external_ids(row: Row) -> Mapping[str, str]:
    return texts(row, "external_ids")


def texts(row: Row, column: str) -> Mapping[str, str]:
    """A column that is a map of texts; empty where there is none."""
    value = row.get(column, {})
    return value if isinstance(value, Mapping) else {}  # type: ignore[return-value]


def revision_of(row: Row) -> int:
    return int(external_ids(row).get(REVISION, "-1"))


def encode(value: Value) -> Json:
    if isinstance(value, UUID):
        return ["uuid", str(value)]
    if isinstance(value, str | bool | int):
        return value
    if isinstance(value, Mapping):
        return ["map", [[k, v] for k, v in value.items()]]
    return ["set", [encode(v) for v in value]]


def _row(columns: Row) -> dict[str, Json]:
    return {name: encode(value) for name, value in columns.items()}


def _is(row: UUID) -> Json:
    return [["_uuid", "==", ["uuid", str(row)]]]


def insert(table: str, row: UUID, columns: Row) -> Op:
    return {"op": "insert", "table": table, "uuid": str(row), "row": _row(columns)}


def update(table: str, row: UUID, columns: Row) -> Op:
    return {"op": "update", "table": table, "where": _is(row), "row": _row(columns)}


def delete(table: str, row: UUID) -> Op:
    return {"op": "delete", "table": table, "where": _is(row)}


def delete_if_empty(table: str, row: UUID, column: str) -> Op:
    where = [["_uuid", "==", ["uuid", str(row)]], [column, "==", ["set", []]]]
    return {"op": "delete", "table": table, "where": where}


def add_to(table: str, row: UUID, column: str, members: Iterable[UUID]) -> Op:
    return {"op": "mutate", "table": table, "where": _is(row), "mutations": [[column, "insert", encode(list(members))]]}


def take_from(table: str, row: UUID, column: str, members: Iterable[UUID]) -> Op:
    return {"op": "mutate", "table": table, "where": _is(row), "mutations": [[column, "delete", encode(list(members))]]}


def increment(table: str, row: UUID, column: str) -> Op:
    return {"op": "mutate", "table": table, "where": _is(row), "mutations": [[column, "+=", 1]]}


def unchanged(table: str, row: UUID, columns: Row) -> Op:
    """The transaction goes through only if the row still has these values; else it is composed anew."""
    return {
        "op": "wait",
        "table": table,
        "where": _is(row),
        "columns": list(columns),
        "until": "==",
        "rows": [_row(columns)],
        "timeout": 0,
    }
