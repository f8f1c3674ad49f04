"""Networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.dns_names import check_domain
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.commands import networks as commands
from trilith.commands import qos as qos_commands
from trilith.commands.network_faults import InvalidInput, NetworkNotFound
from trilith.commands.network_search import EXTERNAL, SHARED
from trilith.commands.network_tags import MAX_LENGTH, MAX_TAGS
from trilith.model.network import Network, Rbac, Subnet, SubnetPool
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader, Tx

Name = Annotated[str, Meta(max_length=255)]
Given = str | UnsetType | None
Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=MAX_LENGTH)]], Meta(max_length=MAX_TAGS)]


class NetworkView(Standard, kw_only=True):
    name: str
    admin_state_up: bool
    status: str
    shared: bool
    subnets: list[str]
    mtu: int
    port_security_enabled: bool
    dns_domain: str
    availability_zone_hints: tuple[str, ...]
    availability_zones: list[str]
    ipv4_address_scope: str | None
    ipv6_address_scope: str | None
    external: bool = msgspec.field(name="router:external")
    qos_policy_id: str | None = None
    is_default: bool | UnsetType = UNSET
    network_type: str | UnsetType = msgspec.field(name="provider:network_type", default=UNSET)
    physical_network: str | UnsetType | None = msgspec.field(name="provider:physical_network", default=UNSET)
    segmentation_id: int | UnsetType | None = msgspec.field(name="provider:segmentation_id", default=UNSET)
    tags: tuple[str, ...]


class NetworkCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name = ""
    description: Name = ""
    admin_state_up: bool = True
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    shared: bool | UnsetType = UNSET
    external: bool | UnsetType = msgspec.field(name="router:external", default=UNSET)
    is_default: bool | UnsetType = UNSET
    mtu: int | str | None = None
    port_security_enabled: bool = True
    dns_domain: Name = ""
    qos_policy_id: str | UnsetType | None = UNSET
    availability_zone_hints: list[str] = []
    network_type: Given = msgspec.field(name="provider:network_type", default=UNSET)
    physical_network: Given = msgspec.field(name="provider:physical_network", default=UNSET)
    segmentation_id: int | str | UnsetType | None = msgspec.field(name="provider:segmentation_id", default=UNSET)
    tags: Tags = []


class NetworkUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    admin_state_up: bool | UnsetType = UNSET
    shared: bool | UnsetType = UNSET
    external: bool | UnsetType = msgspec.field(name="router:external", default=UNSET)
    is_default: bool | UnsetType = UNSET
    mtu: int | str | UnsetType = UNSET
    port_security_enabled: bool | UnsetType = UNSET
    dns_domain: Name | UnsetType = UNSET
    qos_policy_id: str | UnsetType | None = UNSET


class CreateBody(Struct):
    network: NetworkCreate | UnsetType = UNSET
    networks: list[NetworkCreate] | UnsetType = UNSET


class UpdateBody(Struct):
    network: NetworkUpdate


def view(reader: Reader, rows: Sequence[Network], who: Viewer) -> list[NetworkView]:
    ids = [n.id for n in rows]
    subnets: dict[str, list[str]] = {}
    cut: dict[str, list[Subnet]] = {}
    for subnet in reader.select(Subnet, network_id=ids):
        subnets.setdefault(subnet.network_id, []).append(subnet.id)
        if subnet.subnetpool_id:
            cut.setdefault(subnet.network_id, []).append(subnet)
    scopes = _scopes(reader, cut)
    given = {r.object_id for r in reader.select(Rbac, object_id=ids, action=SHARED, target=(who.actor.project_id, "*"))}
    return [_view(n, subnets.get(n.id, []), n.shared or n.id in given, who, scopes) for n in rows]


def _scopes(reader: Reader, cut: dict[str, list[Subnet]]) -> dict[tuple[str, int], str]:
    """(network, IP version) → the address scope that its subnets are of."""
    if not cut:
        return {}
    pools = {s.subnetpool_id for subnets in cut.values() for s in subnets}
    scope = {p.id: p.address_scope_id for p in reader.select(SubnetPool, id=pools) if p.address_scope_id}
    return {(network, s.ip_version): scope[s.subnetpool_id] for network, subnets in cut.items() for s in subnets
            if s.subnetpool_id in scope}  # fmt: skip


def _view(
    network: Network, subnets: list[str], shared: bool, who: Viewer, scopes: dict[tuple[str, int], str]
) -> NetworkView:
    made = NetworkView(
        **listing.standard(network),
        name=network.name,
        admin_state_up=network.admin_up,
        status="ERROR" if network.error else "ACTIVE",
        shared=shared,
        subnets=subnets,
        mtu=network.mtu,
        port_security_enabled=network.port_security,
        dns_domain=network.dns_domain,
        availability_zone_hints=network.zone_hints,
        availability_zones=[],
        ipv4_address_scope=scopes.get((network.id, 4)),
        ipv6_address_scope=scopes.get((network.id, 6)),
        external=network.external,
        tags=network.tags,
        qos_policy_id=network.qos_policy_id or None,
    )
    if network.external:
        made.is_default = network.default
    if who.admin:
        made.network_type = network.network_type
        made.physical_network = network.physical_network or None
        made.segmentation_id = network.segmentation_id or None
    return made


def _external(_reader: Reader, values: Sequence[str]) -> sa.ColumnElement[bool]:
    table = REGISTRY[Network].table
    rbac = REGISTRY[Rbac].table.c
    given = sa.select(rbac.object_id).where(rbac.object_type == "network", rbac.action == EXTERNAL)
    external = sa.or_(table.c.external.is_(True), table.c.id.in_(given))
    wanted = {listing.boolean(v) for v in values}
    return sa.true() if len(wanted) > 1 else (external if wanted == {True} else sa.not_(external))


def _status(_reader: Reader, values: Sequence[str]) -> sa.ColumnElement[bool]:
    c = REGISTRY[Network].table.c
    return sa.or_(
        *(c.error == "" if v == "ACTIVE" else (c.error != "" if v == "ERROR" else sa.false()) for v in values)
    )


NOUN: Noun[Network] = Noun(
    Network,
    "network",
    "networks",
    "Network",
    NetworkNotFound,
    view,
    {
        **listing.standard_filters(Network),
        "admin_state_up": listing.flag(Network, "admin_up"),
        "shared": listing.flag(Network, "shared"),
        "router:external": _external,
        "is_default": listing.flag(Network, "default"),
        "mtu": listing.number(Network, "mtu"),
        "port_security_enabled": listing.flag(Network, "port_security"),
        "dns_domain": listing.text(Network, "dns_domain"),
        "provider:network_type": listing.text(Network, "network_type"),
        "provider:physical_network": listing.text(Network, "physical_network"),
        "provider:segmentation_id": listing.number(Network, "segmentation_id"),
        "status": _status,
        "qos_policy_id": listing.text(Network, "qos_policy_id"),
    },
    {**listing.standard_sort(Network), "mtu": "mtu"},
    hidden=frozenset({"provider:network_type", "provider:physical_network", "provider:segmentation_id"}),
)


async def create(call: Call) -> Answer:
    """201: the network. 400: a provider attribute that cannot be. 403: an administrator's attribute. 409: quota, or
    the VLAN or physical network is taken."""
    body: CreateBody = call.body
    asked = body.networks if isinstance(body.networks, list) else [body.network]
    physical = {w.physical_network for w in asked if isinstance(w, NetworkCreate)}
    if named := {p for p in physical if isinstance(p, str) and p}:
        await _check_physical(call, named)
    return await listing.create_all(call, NOUN, body.network, body.networks, lambda tx, w: _make(call, tx, w))


async def _check_physical(call: Call, wanted: set[str]) -> None:
    known = {"external"} | {p for c in await call.host.services.network.chassis() for p in c.physical_networks}
    for name in sorted(wanted - known):
        raise InvalidInput(
            f"Invalid input for operation: physical_network '{name}' unknown for provider network.",
            hint=f"Known: {', '.join(sorted(known))}.",
            field="provider:physical_network",
        )


def _make(call: Call, tx: Tx, wanted: NetworkCreate) -> Network:
    project = listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id)
    listing.restrict(
        call,
        {
            # false is what anyone has anyway
            "create_network:shared": wanted.shared or UNSET,
            "create_network:router:external": wanted.external or UNSET,
            "create_network:is_default": wanted.is_default or UNSET,
            "create_network:provider:network_type": wanted.network_type,
            "create_network:provider:physical_network": wanted.physical_network,
            "create_network:provider:segmentation_id": wanted.segmentation_id,
        },
        project_id=project,
    )
    listing.refuse_hints(wanted.availability_zone_hints)
    kind = wanted.network_type or "geneve"
    settings = call.host.settings
    most = settings.underlay_mtu - (commands.GENEVE_OVERHEAD if kind == "geneve" else 0)
    mtu = 0 if wanted.mtu is None else listing.integer(wanted.mtu, "mtu", 0, 65535)
    if mtu > most:
        raise InvalidInput(f"Invalid input for operation: Requested MTU is too big, maximum is {most}.", field="mtu")
    return commands.create_network(
        tx,
        project_id=project,
        mtu=mtu or most,
        name=wanted.name,
        description=wanted.description,
        admin_up=wanted.admin_state_up,
        shared=bool(wanted.shared),
        external=bool(wanted.external),
        default=bool(wanted.is_default),
        network_type=str(kind),
        physical_network=wanted.physical_network or "",
        segmentation_id=_number(wanted.segmentation_id),
        port_security=wanted.port_security_enabled,
        dns_domain=check_domain(wanted.dns_domain),
        qos_policy_id=None if wanted.qos_policy_id is UNSET else qos_commands.check(tx, wanted.qos_policy_id or ""),
        tags=tuple(dict.fromkeys(wanted.tags)),
    )


def _number(value: int | str | UnsetType | None) -> int:
    return 0 if value is UNSET or value is None else listing.integer(value, "provider:segmentation_id", 0, 2**24 - 1)


async def update(call: Call) -> Answer:
    """200: as it is now. 409: others' ports are on it, or gateways use it."""
    wanted: NetworkUpdate = call.body.network
    listing.restrict(
        call,
        {
            "update_network:shared": wanted.shared,
            "update_network:router:external": wanted.external,
            "update_network:is_default": wanted.is_default,
        },
    )

    def act(tx: Tx, network: Network) -> Any:
        most = call.host.settings.underlay_mtu - (commands.GENEVE_OVERHEAD if network.network_type == "geneve" else 0)
        mtu = UNSET if wanted.mtu is UNSET else listing.integer(wanted.mtu, "mtu", 68, 65535)
        if mtu is not UNSET and mtu > most:
            raise errors.Invalid(f"Requested MTU is too big, maximum is {most}.", field="mtu")
        return commands.update_network(
            tx,
            network,
            name=wanted.name,
            description=wanted.description,
            admin_up=wanted.admin_state_up,
            shared=wanted.shared,
            external=wanted.external,
            default=wanted.is_default,
            mtu=mtu,
            port_security=wanted.port_security_enabled,
            dns_domain=wanted.dns_domain if wanted.dns_domain is UNSET else check_domain(wanted.dns_domain),
            qos_policy_id=(
                UNSET if wanted.qos_policy_id is UNSET else qos_commands.check(tx, wanted.qos_policy_id or "")
            ),
        )

    return await listing.change(call, NOUN, act)


async def delete(call: Call) -> Answer:
    """204. 409: ports are on it."""
    return await listing.remove(call, NOUN, commands.delete_network)
