"""Subnets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network import networks as network_api
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name, Tags
from trilith.commands import subnet_pools
from trilith.commands import subnets as commands
from trilith.commands.network_faults import BadRequest, NetworkNotFound, SubnetNotFound, SubnetPoolNotFound
from trilith.model.network import AllocationPool, HostRoute, Subnet, SubnetPool
from trilith.store.tx import Reader, Tx

Mode = Literal["slaac", "dhcpv6-stateful", "dhcpv6-stateless"]


class PoolWire(Struct, forbid_unknown_fields=True):
    start: str
    end: str


Pools = Annotated[list[PoolWire], Meta(max_length=1000)]


class RouteWire(Struct, forbid_unknown_fields=True):
    destination: str
    nexthop: str


class SubnetView(Standard, kw_only=True):
    name: str
    network_id: str
    ip_version: int
    cidr: str
    gateway_ip: str | None
    enable_dhcp: bool
    allocation_pools: list[PoolWire]
    dns_nameservers: tuple[str, ...]
    host_routes: list[RouteWire]
    ipv6_address_mode: str | None
    ipv6_ra_mode: str | None
    subnetpool_id: str | None
    service_types: tuple[str, ...]
    dns_publish_fixed_ip: bool
    tags: tuple[str, ...]


class SubnetCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    network_id: str
    name: Name = ""
    description: Name = ""
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    ip_version: Literal[4, 6, "4", "6"] | None = None
    cidr: str | None = None
    prefixlen: int | str | None = None
    gateway_ip: str | UnsetType | None = UNSET
    enable_dhcp: bool | None = None
    allocation_pools: Pools | None = None
    dns_nameservers: list[str] | None = None
    host_routes: list[RouteWire] | None = None
    ipv6_address_mode: Mode | None = None
    ipv6_ra_mode: Mode | None = None
    subnetpool_id: str | None = None
    use_default_subnetpool: bool = False
    service_types: list[Name] | UnsetType = UNSET
    dns_publish_fixed_ip: bool = False
    tags: Tags = []


class SubnetUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    gateway_ip: str | UnsetType | None = UNSET
    enable_dhcp: bool | UnsetType = UNSET
    allocation_pools: Pools | UnsetType = UNSET
    dns_nameservers: list[str] | UnsetType | None = UNSET
    host_routes: list[RouteWire] | UnsetType | None = UNSET
    service_types: list[Name] | UnsetType = UNSET
    dns_publish_fixed_ip: bool | UnsetType = UNSET


class CreateBody(Struct):
    subnet: SubnetCreate | UnsetType = UNSET
    subnets: list[SubnetCreate] | UnsetType = UNSET


class UpdateBody(Struct):
    subnet: SubnetUpdate


def view(_reader: Reader, rows: Sequence[Subnet], _who: Viewer) -> list[SubnetView]:
    return [
        SubnetView(
            **listing.standard(s),
            name=s.name,
            network_id=s.network_id,
            ip_version=s.ip_version,
            cidr=s.cidr,
            gateway_ip=s.gateway or None,
            enable_dhcp=s.dhcp,
            allocation_pools=[PoolWire(p.start, p.end) for p in s.pools],
            dns_nameservers=s.dns,
            host_routes=[RouteWire(r.destination, r.nexthop) for r in s.routes],
            ipv6_address_mode=s.ipv6_address_mode or None,
            ipv6_ra_mode=s.ipv6_ra_mode or None,
            subnetpool_id=s.subnetpool_id or None,
            service_types=s.service_types,
            dns_publish_fixed_ip=s.dns_publish_fixed_ip,
            tags=s.tags,
        )
        for s in rows
    ]


NOUN: Noun[Subnet] = Noun(
    Subnet,
    "subnet",
    "subnets",
    "Subnet",
    SubnetNotFound,
    view,
    {
        **listing.standard_filters(Subnet),
        "network_id": listing.text(Subnet, "network_id"),
        "cidr": listing.text(Subnet, "cidr"),
        "ip_version": listing.number(Subnet, "ip_version"),
        "gateway_ip": listing.text(Subnet, "gateway"),
        "enable_dhcp": listing.flag(Subnet, "dhcp"),
        "ipv6_address_mode": listing.text(Subnet, "ipv6_address_mode"),
        "ipv6_ra_mode": listing.text(Subnet, "ipv6_ra_mode"),
        "subnetpool_id": listing.text(Subnet, "subnetpool_id"),
        "dns_nameservers": listing.member(Subnet, "dns"),
        "service_types": listing.member(Subnet, "service_types"),
    },
    {
        **listing.standard_sort(Subnet),
        "cidr": "cidr",
        "network_id": "network_id",
        "ip_version": "ip_version",
        "gateway_ip": "gateway",
        "enable_dhcp": "dhcp",
        "subnetpool_id": "subnetpool_id",
    },
)


async def create(call: Call) -> Answer:
    """201: the subnet. 400: addresses that do not fit together. 404: the network. 409: quota, pools."""
    body: CreateBody = call.body
    return await listing.create_all(call, NOUN, body.subnet, body.subnets, lambda tx, w: _make(call, tx, w))


def _make(call: Call, tx: Tx, wanted: SubnetCreate) -> Subnet:
    project = listing.owner(call, NOUN, wanted.project_id, wanted.tenant_id)
    listing.restrict(call, {"create_subnet:service_types": wanted.service_types})
    listing.refuse_publishing("dns_publish_fixed_ip", wanted.dns_publish_fixed_ip)
    who = listing.viewer(call)
    network = listing.fetch(tx, network_api.NOUN, who, wanted.network_id)
    if not who.admin and network.project_id != call.actor.project_id:
        # a network that is only shared is not to be extended (Neutron: ADMIN_OR_NET_OWNER_MEMBER)
        raise NetworkNotFound(f"Network {network.id} could not be found.", field="network_id")
    version = None if wanted.ip_version is None else int(wanted.ip_version)
    cidr, pool_id = _prefix(call, tx, wanted, version, project)
    return commands.create_subnet(
        tx,
        network,
        project_id=project,
        cidr=cidr,
        ip_version=version if not pool_id else None,
        name=wanted.name,
        description=wanted.description,
        gateway=wanted.gateway_ip,
        pools=None if wanted.allocation_pools is None else _pools(wanted.allocation_pools),
        dhcp=wanted.enable_dhcp is not False,
        dns=wanted.dns_nameservers or (),
        routes=_routes(wanted.host_routes or []),
        ipv6_address_mode=wanted.ipv6_address_mode or "",
        ipv6_ra_mode=wanted.ipv6_ra_mode or "",
        subnetpool_id=pool_id,
        service_types=() if wanted.service_types is UNSET else tuple(wanted.service_types),
        dns_publish_fixed_ip=wanted.dns_publish_fixed_ip,
        tags=tuple(dict.fromkeys(wanted.tags)),
    )


def _prefix(call: Call, tx: Tx, wanted: SubnetCreate, version: int | None, project: str) -> tuple[str, str]:
    """The CIDR, and the pool that it comes from or ""."""
    pool: SubnetPool | None = None
    if wanted.subnetpool_id:
        who = listing.viewer(call)
        pool = tx.find(SubnetPool, wanted.subnetpool_id)
        hidden = pool is not None and pool.project_id != call.actor.project_id and not pool.shared and not who.admin
        if pool is None or hidden:
            raise SubnetPoolNotFound(f"Subnet pool {wanted.subnetpool_id} could not be found.", field="subnetpool_id")
    elif wanted.use_default_subnetpool:
        pool = tx.first(SubnetPool, default=True, ip_version=version or 4)
        if pool is None:
            raise SubnetPoolNotFound(f"No default subnetpool found for IPv{version or 4}")
    if pool is not None and version not in (None, pool.ip_version):
        raise BadRequest(
            f"Bad subnets request: Cannot allocate IPv{version} subnet from IPv{pool.ip_version} subnet pool.",
            field="ip_version",
        )
    if wanted.cidr and wanted.prefixlen is not None:
        raise BadRequest("Bad subnets request: cidr and prefixlen must not be supplied together.", field="prefixlen")
    if pool is not None:
        subnet_pools.check_affinity(tx, wanted.network_id, pool)
        length = None if wanted.prefixlen is None else listing.integer(wanted.prefixlen, "prefixlen", 0, 128)
        return (
            subnet_pools.cut(tx, pool, project_id=project, cidr=wanted.cidr or "", prefixlen=length),
            pool.id,
        )
    if not wanted.cidr:
        raise errors.Invalid("Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
    if version is None:
        raise errors.Invalid("Invalid input for operation: ip_version must be specified in the absence of a "
                             "subnetpool.", field="ip_version")  # fmt: skip
    return wanted.cidr, ""


def _pools(pools: Sequence[PoolWire]) -> list[AllocationPool]:
    return [AllocationPool(start=p.start, end=p.end) for p in pools]


def _routes(routes: Sequence[RouteWire]) -> list[HostRoute]:
    return [HostRoute(destination=r.destination, nexthop=r.nexthop) for r in routes]


async def update(call: Call) -> Answer:
    """200: as it is now. 400: addresses that do not fit. 409: the gateway is in use, or lies in a pool."""
    wanted: SubnetUpdate = call.body.subnet
    listing.restrict(call, {"update_subnet:service_types": wanted.service_types})
    listing.refuse_publishing("dns_publish_fixed_ip", wanted.dns_publish_fixed_ip)

    def act(tx: Tx, subnet: Subnet) -> Any:
        return commands.update_subnet(
            tx,
            subnet,
            name=wanted.name,
            description=wanted.description,
            gateway=wanted.gateway_ip,
            pools=UNSET if wanted.allocation_pools is UNSET else _pools(wanted.allocation_pools),
            dhcp=wanted.enable_dhcp,
            dns=UNSET if wanted.dns_nameservers is UNSET else wanted.dns_nameservers or (),
            routes=UNSET if wanted.host_routes is UNSET else _routes(wanted.host_routes or []),
            service_types=UNSET if wanted.service_types is UNSET else tuple(wanted.service_types),
            dns_publish_fixed_ip=wanted.dns_publish_fixed_ip,
        )

    return await listing.change(call, NOUN, act)


async def delete(call: Call) -> Answer:
    """204. 409: addresses of it are in use."""
    return await listing.remove(call, NOUN, commands.delete_subnet)
