"""Subnet pools and address scopes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.api.network import listing
from trilith.api.network.listing import Noun, Standard, Viewer
from trilith.api.network.networks import Given, Name, Tags
from trilith.commands import subnet_pools as commands
from trilith.commands.network_faults import AddressScopeNotFound, SubnetPoolNotFound
from trilith.model.network import AddressScope, SubnetPool
from trilith.store.tx import Reader, Tx

Length = Annotated[int, Meta(ge=0, le=128)]
Prefixes = Annotated[list[str], Meta(max_length=commands.MOST_PREFIXES)]


class PoolView(Standard, kw_only=True):
    name: str
    prefixes: tuple[str, ...]
    ip_version: int
    min_prefixlen: int
    max_prefixlen: int
    default_prefixlen: int
    default_quota: int | None
    address_scope_id: str | None
    shared: bool
    is_default: bool
    tags: tuple[str, ...]


class PoolCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    prefixes: Prefixes
    project_id: Given = UNSET
    tenant_id: Given = UNSET
    min_prefixlen: Length | None = None
    max_prefixlen: Length | None = None
    default_prefixlen: Length | None = None
    default_quota: Annotated[int, Meta(ge=0, le=2**31 - 1)] | None = None
    address_scope_id: str | None = None
    description: Name = ""
    shared: bool | UnsetType = UNSET
    is_default: bool | UnsetType = UNSET
    tags: Tags = []


class PoolUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    description: Name | UnsetType = UNSET
    prefixes: Prefixes | UnsetType = UNSET
    min_prefixlen: Length | UnsetType = UNSET
    max_prefixlen: Length | UnsetType = UNSET
    default_prefixlen: Length | UnsetType = UNSET
    default_quota: Annotated[int, Meta(ge=0, le=2**31 - 1)] | UnsetType | None = UNSET
    address_scope_id: str | UnsetType | None = UNSET
    is_default: bool | UnsetType = UNSET


class PrefixesBody(Struct, forbid_unknown_fields=True):
    prefixes: Prefixes


class PrefixesWrapped(Struct):
    subnetpool: PrefixesBody | UnsetType = UNSET
    prefixes: Prefixes | UnsetType = UNSET


class ScopeView(Struct, kw_only=True):
    id: str
    name: str
    project_id: str
    tenant_id: str
    ip_version: int
    shared: bool


class ScopeCreate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    ip_version: Literal[4, 6]
    shared: bool | UnsetType = UNSET
    project_id: Given = UNSET
    tenant_id: Given = UNSET


class ScopeUpdate(Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name | UnsetType = UNSET
    shared: bool | UnsetType = UNSET


class CreatePoolBody(Struct):
    subnetpool: PoolCreate | UnsetType = UNSET
    subnetpools: list[PoolCreate] | UnsetType = UNSET


class UpdatePoolBody(Struct):
    subnetpool: PoolUpdate


class CreateScopeBody(Struct):
    address_scope: ScopeCreate | UnsetType = UNSET
    address_scopes: list[ScopeCreate] | UnsetType = UNSET


class UpdateScopeBody(Struct):
    address_scope: ScopeUpdate


def view(_reader: Reader, rows: Sequence[SubnetPool], _who: Viewer) -> list[PoolView]:
    return [
        PoolView(
            **listing.standard(p),
            name=p.name,
            prefixes=p.prefixes,
            ip_version=p.ip_version,
            min_prefixlen=p.min_prefixlen,
            max_prefixlen=p.max_prefixlen,
            default_prefixlen=p.default_prefixlen,
            default_quota=None if p.default_quota < 0 else p.default_quota,
            address_scope_id=p.address_scope_id or None,
            shared=p.shared,
            is_default=p.default,
            tags=p.tags,
        )
        for p in rows
    ]


def view_scopes(_reader: Reader, rows: Sequence[AddressScope], _who: Viewer) -> list[ScopeView]:
    return [
        ScopeView(
            id=s.id,
            name=s.name,
            project_id=s.project_id,
            tenant_id=s.project_id,
            ip_version=s.ip_version,
            shared=s.shared,
        )
        for s in rows
    ]


POOL: Noun[SubnetPool] = Noun(
    SubnetPool,
    "subnetpool",
    "subnetpools",
    "Subnet pool",
    SubnetPoolNotFound,
    view,
    {
        **listing.standard_filters(SubnetPool),
        "ip_version": listing.number(SubnetPool, "ip_version"),
        "shared": listing.flag(SubnetPool, "shared"),
        "is_default": listing.flag(SubnetPool, "default"),
        "address_scope_id": listing.text(SubnetPool, "address_scope_id"),
        "default_prefixlen": listing.number(SubnetPool, "default_prefixlen"),
        "min_prefixlen": listing.number(SubnetPool, "min_prefixlen"),
        "max_prefixlen": listing.number(SubnetPool, "max_prefixlen"),
    },
    {**listing.standard_sort(SubnetPool), "ip_version": "ip_version", "is_default": "default"},
)

SCOPE: Noun[AddressScope] = Noun(
    AddressScope,
    "address_scope",
    "address_scopes",
    "Address scope",
    AddressScopeNotFound,
    view_scopes,
    {
        **listing.standard_filters(AddressScope),
        "ip_version": listing.number(AddressScope, "ip_version"),
        "shared": listing.flag(AddressScope, "shared"),
    },
    {**listing.standard_sort(AddressScope), "ip_version": "ip_version"},
    path="address-scopes",
)


def _scope(call: Call, tx: Tx, id: str, version: int) -> str:
    """Raises AddressScopeNotFound, Invalid for another IP version."""
    if not id:
        return ""
    scope = listing.fetch(tx, SCOPE, listing.viewer(call), id)
    if scope.ip_version != version:
        raise errors.Invalid(
            f"Illegal subnetpool association: subnetpool and address scope {id} differ in IP version.",
            field="address_scope_id",
        )
    return scope.id


async def create(call: Call) -> Answer:
    """201: the pool. 400: prefixes that cannot be. 403: shared or default. 409: quota."""
    body: CreatePoolBody = call.body

    def make(tx: Tx, wanted: PoolCreate) -> SubnetPool:
        project = listing.owner(call, POOL, wanted.project_id, wanted.tenant_id)
        listing.restrict(
            call,
            {
                "create_subnetpool:shared": wanted.shared or UNSET,
                "create_subnetpool:is_default": wanted.is_default or UNSET,
            },
        )
        return commands.create_pool(
            tx,
            project_id=project,
            name=wanted.name,
            prefixes=wanted.prefixes,
            min_prefixlen=wanted.min_prefixlen,
            max_prefixlen=wanted.max_prefixlen,
            default_prefixlen=wanted.default_prefixlen,
            default_quota=-1 if wanted.default_quota is None else wanted.default_quota,
            address_scope_id=_scope(
                call, tx, wanted.address_scope_id or "", commands.compact(wanted.prefixes)[0].version
            ),
            description=wanted.description,
            shared=bool(wanted.shared),
            default=bool(wanted.is_default),
            tags=tuple(dict.fromkeys(wanted.tags)),
        )

    return await listing.create_all(call, POOL, body.subnetpool, body.subnetpools, make)


async def update(call: Call) -> Answer:
    """200: as it is now. 400: prefixes taken away."""
    body: UpdatePoolBody = call.body
    wanted = body.subnetpool
    listing.restrict(call, {"update_subnetpool:is_default": wanted.is_default})

    def act(tx: Tx, pool: SubnetPool) -> Any:
        scope: str | UnsetType = UNSET
        if wanted.address_scope_id is not UNSET:
            scope = _scope(call, tx, wanted.address_scope_id or "", pool.ip_version)
        quota: int | UnsetType = UNSET
        if wanted.default_quota is not UNSET:
            quota = -1 if wanted.default_quota is None else wanted.default_quota
        return commands.update_pool(
            tx,
            pool,
            name=wanted.name,
            description=wanted.description,
            prefixes=wanted.prefixes,
            min_prefixlen=wanted.min_prefixlen,
            max_prefixlen=wanted.max_prefixlen,
            default_prefixlen=wanted.default_prefixlen,
            default_quota=quota,
            address_scope_id=scope,
            default=wanted.is_default,
        )

    return await listing.change(call, POOL, act)


async def delete(call: Call) -> Answer:
    """204. 409: subnets are cut from it."""
    return await listing.remove(call, POOL, commands.delete_pool)


def _asked(call: Call) -> list[str]:
    body: PrefixesWrapped = call.body
    if body.subnetpool is not UNSET:
        return body.subnetpool.prefixes
    if body.prefixes is not UNSET:
        return body.prefixes
    raise errors.Invalid("Unable to find 'prefixes' in request body", field="prefixes")


async def add_prefixes(call: Call) -> Answer:
    """200: the pool's prefixes now. 400: none that can be."""
    return await _prefixes(call, commands.add_prefixes)


async def remove_prefixes(call: Call) -> Answer:
    """200: the pool's prefixes now. 400: in use, or the last."""
    return await _prefixes(call, commands.remove_prefixes)


async def _prefixes(call: Call, act: Callable[[Tx, SubnetPool, list[str]], SubnetPool]) -> Answer:
    who, wanted = listing.viewer(call), _asked(call)

    def body(tx: Tx) -> tuple[str, ...]:
        pool = listing.fetch(tx, POOL, who, call.params["id"])
        call.allow("update_subnetpool", project_id=pool.project_id)
        return act(tx, pool, wanted).prefixes

    return Answer({"prefixes": await call.write(body, "subnetpool.update")})


async def create_scope(call: Call) -> Answer:
    """201: the scope. 403: shared."""
    body: CreateScopeBody = call.body

    def make(tx: Tx, wanted: ScopeCreate) -> AddressScope:
        project = listing.owner(call, SCOPE, wanted.project_id, wanted.tenant_id)
        listing.restrict(call, {"create_address_scope:shared": wanted.shared or UNSET})
        return commands.create_scope(
            tx, project_id=project, name=wanted.name, ip_version=wanted.ip_version, shared=bool(wanted.shared)
        )

    return await listing.create_all(call, SCOPE, body.address_scope, body.address_scopes, make)


async def update_scope(call: Call) -> Answer:
    """200: as it is now. 400: un-sharing."""
    body: UpdateScopeBody = call.body
    wanted = body.address_scope
    listing.restrict(call, {"update_address_scope:shared": wanted.shared})
    return await listing.change(
        call, SCOPE, lambda tx, s: commands.update_scope(tx, s, name=wanted.name, shared=wanted.shared)
    )


async def delete_scope(call: Call) -> Answer:
    """204. 409: pools are in it."""
    return await listing.remove(call, SCOPE, commands.delete_scope)
