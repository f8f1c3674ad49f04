"""Host aggregates and the zones that they give to their nodes (Nova's rules: a node is in one zone at most)."""

from __future__ import annotations

from trilith import errors
from trilith.model.node import Aggregate, Node, ProviderAggregates, ResourceProvider
from trilith.model.server import Server
from trilith.store.tx import Reader, Tx, new_id

#: the zone of nodes that no aggregate gives one
DEFAULT_ZONE = "nova"


def get(reader: Reader, number: int) -> Aggregate:
    """By Nova's integer id. Raises Missing."""
    found = reader.first(Aggregate, seq=number)
    if found is None:
        raise errors.Missing(f"Aggregate {number} could not be found.")
    return found


def create(tx: Tx, *, name: str, zone: str) -> Aggregate:
    """Raises Conflict for a name that is taken."""
    _free(tx, name)
    made = tx.add(Aggregate(id=new_id(), name=name, zone=zone, metadata={"availability_zone": zone} if zone else {}))
    return tx.change(made, number=made.seq)


def _free(tx: Tx, name: str) -> None:
    if tx.first(Aggregate, name=name) is not None:
        raise errors.Conflict(f"Aggregate {name} already exists.", field="name")


def update(tx: Tx, number: int, *, name: str | None, zone: str | None) -> Aggregate:
    """Raises Missing, Conflict for a name, Invalid for a zone that its nodes cannot change to."""
    found = get(tx, number)
    if name is not None and name != found.name:
        _free(tx, name)
        found = tx.change(found, name=name)
    return found if zone is None else _set_metadata(tx, found, {"availability_zone": zone or None})


def set_metadata(tx: Tx, number: int, metadata: dict[str, str | None]) -> Aggregate:
    """A null takes its key away. Raises Missing, Invalid as update."""
    return _set_metadata(tx, get(tx, number), metadata)


def _set_metadata(tx: Tx, found: Aggregate, metadata: dict[str, str | None]) -> Aggregate:
    merged = {**found.metadata, **metadata}
    kept = {k: v for k, v in merged.items() if v is not None}
    zone = kept.get("availability_zone", "")
    if zone != found.zone and found.hosts:
        _check_empty(tx, found.hosts)
        for host in found.hosts:
            _one_zone(tx, host, zone, beside=found)
    found = tx.change(found, metadata=kept, zone=zone)
    for host in found.hosts:
        _place(tx, host)
    return found


def delete(tx: Tx, number: int) -> None:
    """Raises Missing, Invalid while it has hosts."""
    found = get(tx, number)
    if found.hosts:
        raise errors.Invalid(f"Unable to delete aggregate {number}: it is not empty", hint="Remove its hosts first.")
    tx.remove(found)


def add_host(tx: Tx, number: int, host: str) -> Aggregate:
    """Raises Missing for aggregate or host, Conflict where it is in already or in another zone."""
    found = get(tx, number)
    node = tx.first(Node, name=host)
    if node is None:
        raise errors.Missing(f"Compute host {host} could not be found.")
    if host in found.hosts:
        raise errors.Conflict(f"Aggregate {number} already has host {host}.")
    if found.zone:
        _one_zone(tx, host, found.zone, beside=found)
        if node.zone != found.zone and tx.count(Server, node=host):
            raise errors.Conflict(
                f"Cannot add host {host} to aggregate {number}: its servers would change their zone.",
                hint="Move or delete them first.",
            )
    found = tx.change(found, hosts=(*found.hosts, host))
    _place(tx, host)
    _tell_placement(tx, host)
    return found


def remove_host(tx: Tx, number: int, host: str) -> Aggregate:
    """Raises Missing for aggregate or host, Conflict where servers would change their zone."""
    found = get(tx, number)
    if host not in found.hosts:
        raise errors.Missing(f"Cannot remove host {host} in aggregate {number}")
    if found.zone and found.zone != DEFAULT_ZONE and tx.count(Server, node=host, zone_requested=found.zone):
        raise errors.Conflict(
            f"Cannot remove host {host} from aggregate {number}: it has servers in the zone {found.zone}.",
            hint="Move or delete them first.",
        )
    found = tx.change(found, hosts=tuple(h for h in found.hosts if h != host))
    _place(tx, host)
    _tell_placement(tx, host)
    return found


def _check_empty(tx: Tx, hosts: tuple[str, ...]) -> None:
    if tx.count(Server, node=list(hosts)):
        raise errors.Invalid(
            "Cannot change the availability zone of an aggregate whose hosts have servers.",
            hint="Move or delete them first.",
        )


def _of_host(reader: Reader, host: str) -> list[Aggregate]:
    return [a for a in reader.select(Aggregate) if host in a.hosts]


def _one_zone(tx: Tx, host: str, zone: str, *, beside: Aggregate) -> None:
    """Raises Conflict when another aggregate gives the host another zone."""
    for other in _of_host(tx, host):
        if zone and other.seq != beside.seq and other.zone and other.zone != zone:
            raise errors.Conflict(f"Cannot add host {host}: it is in the availability zone {other.zone} already.")


def _place(tx: Tx, host: str) -> None:
    """Set the node's zone, and its servers', from the aggregates that it is in now."""
    node = tx.first(Node, name=host)
    if node is None:
        return
    zone = next((a.zone for a in _of_host(tx, host) if a.zone), DEFAULT_ZONE)
    if node.zone == zone:
        return
    tx.change(node, zone=zone)
    for server in tx.select(Server, node=host):
        tx.change(server, zone=zone)


def _tell_placement(tx: Tx, host: str) -> None:
    """The resource provider is in the same aggregates, as nova-api mirrors them."""
    provider = tx.first(ResourceProvider, name=host)
    if provider is None:
        return
    ids = tuple(a.id for a in _of_host(tx, host))
    known = tx.find(ProviderAggregates, provider.id)
    if known is None:
        tx.add(ProviderAggregates(id=provider.id, aggregates=ids))
    else:
        every = {a.id for a in tx.select(Aggregate, dead=True)}
        tx.change(known, aggregates=(*(a for a in known.aggregates if a not in every), *ids))
