"""Subnet pools and address scopes: prefixes from which subnets are cut, without overlaps within a pool."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any

from msgspec import UNSET, UnsetType

from trilith.commands import network_quota
from trilith.commands.addresses import Network as Prefix
from trilith.commands.network_faults import (
    AddressScopeInUse,
    AddressScopePrefixConflict,
    BadRequest,
    IllegalSubnetPoolPrefixUpdate,
    InvalidInput,
    NetworkAddressScopeAffinityError,
    NetworkSubnetPoolAffinityError,
    SubnetAllocationError,
    SubnetPoolInUse,
    SubnetPoolQuotaExceeded,
)
from trilith.commands.network_generation import bump
from trilith.model.network import AddressScope, IpAddress, Port, Rbac, Router, Subnet, SubnetPool
from trilith.store.tx import Reader, Tx, new_id

#: of a pool: each is compared with each, and with every subnet of the pool
MOST_PREFIXES = 256


def create_pool(
    tx: Tx,
    *,
    project_id: str,
    name: str,
    prefixes: Sequence[str],
    min_prefixlen: int | None = None,
    max_prefixlen: int | None = None,
    default_prefixlen: int | None = None,
    default_quota: int = -1,
    address_scope_id: str = "",
    description: str = "",
    shared: bool = False,
    default: bool = False,
    tags: tuple[str, ...] = (),
) -> SubnetPool:
    """Raises InvalidInput, OverQuota."""
    own = compact(prefixes)
    version = own[0].version
    least = (8 if version == 4 else 64) if min_prefixlen is None else min_prefixlen
    most = own[0].max_prefixlen if max_prefixlen is None else max_prefixlen
    usual = least if default_prefixlen is None else default_prefixlen
    _check_lengths(version, least, usual, most)
    if default:
        _check_default(tx, version)
    _check_scope(tx, address_scope_id, [str(p) for p in own])
    network_quota.charge(tx, project_id, "subnetpool")
    return tx.add(
        SubnetPool(
            id=new_id(),
            name=name,
            project_id=project_id,
            prefixes=tuple(map(str, own)),
            ip_version=version,
            min_prefixlen=least,
            max_prefixlen=most,
            default_prefixlen=usual,
            default_quota=default_quota,
            address_scope_id=address_scope_id,
            description=description,
            shared=shared,
            default=default,
            tags=tags,
        )
    )


def compact(prefixes: Sequence[str]) -> list[Prefix]:
    """Merged and in order. Raises InvalidInput for none, too many, bad ones and a mix of versions."""
    try:
        found = [ipaddress.ip_network(p) for p in prefixes]
    except ValueError as err:
        raise InvalidInput(f"Invalid input for prefixes. Reason: {err}.", field="prefixes") from err
    four = [p for p in found if isinstance(p, ipaddress.IPv4Network)]
    six = [p for p in found if isinstance(p, ipaddress.IPv6Network)]
    if bool(four) == bool(six):
        raise InvalidInput(
            "Invalid input for prefixes. Reason: prefixes of one IP version are needed.", field="prefixes"
        )
    merged: list[Prefix] = [*ipaddress.collapse_addresses(four), *ipaddress.collapse_addresses(six)]
    if len(merged) > MOST_PREFIXES:
        raise InvalidInput(
            f"Invalid input for prefixes. Reason: a pool has {MOST_PREFIXES} at most, not {len(merged)}.",
            field="prefixes",
        )
    return merged


def _check_lengths(version: int, least: int, usual: int, most: int) -> None:
    bits = 32 if version == 4 else 128
    if not 0 <= least <= usual <= most <= bits:
        raise InvalidInput(
            f"Illegal subnetpool prefix lengths: {least} <= {usual} <= {most} <= {bits} does not hold.",
            field="default_prefixlen",
        )


def _check_default(tx: Tx, version: int) -> None:
    if tx.first(SubnetPool, ip_version=version, default=True):
        raise InvalidInput(f"A default subnetpool for IP version {version} has already been set.", field="is_default")


def update_pool(
    tx: Tx,
    pool: SubnetPool,
    *,
    name: str | UnsetType = UNSET,
    description: str | UnsetType = UNSET,
    prefixes: Sequence[str] | UnsetType = UNSET,
    min_prefixlen: int | UnsetType = UNSET,
    max_prefixlen: int | UnsetType = UNSET,
    default_prefixlen: int | UnsetType = UNSET,
    default_quota: int | UnsetType = UNSET,
    address_scope_id: str | UnsetType = UNSET,
    default: bool | UnsetType = UNSET,
) -> SubnetPool:
    """Prefixes may be added, never taken (BadRequest), as in Neutron."""
    given: dict[str, Any] = {
        "name": name,
        "description": description,
        "min_prefixlen": min_prefixlen,
        "max_prefixlen": max_prefixlen,
        "default_prefixlen": default_prefixlen,
        "default_quota": default_quota,
        "address_scope_id": address_scope_id,
        "default": default,
    }
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(pool, f)}
    if prefixes is not UNSET:
        new = compact([*prefixes])
        for old in pool.prefixes:
            if not any(_within(ipaddress.ip_network(old), p) for p in new):
                raise BadRequest(
                    "Illegal update to prefixes: existing prefixes must be a subset of new prefixes.", field="prefixes"
                )
        if new[0].version != pool.ip_version:
            raise InvalidInput("Invalid input for prefixes. Reason: the IP version differs.", field="prefixes")
        changes["prefixes"] = tuple(map(str, new))
    _check_lengths(
        pool.ip_version,
        changes.get("min_prefixlen", pool.min_prefixlen),
        changes.get("default_prefixlen", pool.default_prefixlen),
        changes.get("max_prefixlen", pool.max_prefixlen),
    )
    if changes.get("default"):
        _check_default(tx, pool.ip_version)
    if changes.keys() & {"prefixes", "address_scope_id"}:
        scope = str(changes.get("address_scope_id", pool.address_scope_id))
        _check_scope(tx, scope, changes.get("prefixes", pool.prefixes), pool.id)
    if not changes:
        return pool
    pool = tx.change(pool, **changes)
    if "address_scope_id" in changes:
        # what routers carry between networks follows the scopes of these
        subnets = [s.id for s in tx.select(Subnet, subnetpool_id=pool.id)]
        held = [a.port_id for a in tx.select(IpAddress, subnet_id=subnets)]
        bump(tx, Router, [p.device_id for p in tx.select(Port, id=held) if p.device_owner.startswith("network:router")])
    return pool


def _within(inner: Prefix, outer: Prefix) -> bool:
    return inner.version == outer.version and inner.subnet_of(outer)  # type: ignore[arg-type]


def _check_scope(tx: Tx, scope_id: str, prefixes: Sequence[str], but: str = "") -> None:
    """Within one scope an address is one place. Raises AddressScopePrefixConflict."""
    if not scope_id:
        return
    own = [ipaddress.ip_network(p) for p in prefixes]
    for other in tx.select(SubnetPool, address_scope_id=scope_id):
        if other.id != but and any(a.overlaps(ipaddress.ip_network(b)) for a in own for b in other.prefixes):
            raise AddressScopePrefixConflict(
                f"Failed to associate address scope: subnetpools within an address scope must have unique prefixes; "
                f"subnet pool {other.id} overlaps.",
                field="address_scope_id",
            )


def add_prefixes(tx: Tx, pool: SubnetPool, prefixes: Sequence[str]) -> SubnetPool:
    """Raises InvalidInput."""
    return update_pool(tx, pool, prefixes=[*pool.prefixes, *map(str, compact(prefixes))])


def remove_prefixes(tx: Tx, pool: SubnetPool, prefixes: Sequence[str]) -> SubnetPool:
    """Raises IllegalSubnetPoolPrefixUpdate for a prefix that a subnet of the pool is cut from, InvalidInput."""
    gone = compact(prefixes)
    left = [ipaddress.ip_network(p) for p in pool.prefixes]
    cut_from = [(s, ipaddress.ip_network(s.cidr)) for s in tx.select(Subnet, subnetpool_id=pool.id)]
    for prefix in gone:
        for subnet, cidr in cut_from:
            if prefix.overlaps(cidr):
                raise IllegalSubnetPoolPrefixUpdate(
                    f"Illegal update to prefixes: {prefix} is in use by subnet {subnet.id}.", field="prefixes"
                )
        left = [part for p in left for part in _without(p, prefix)]
    if not left:
        raise IllegalSubnetPoolPrefixUpdate("Illegal update to prefixes: a pool needs one.", field="prefixes")
    now = tuple(map(str, compact([str(p) for p in left])))
    return pool if now == pool.prefixes else tx.change(pool, prefixes=now)


def _without(whole: Prefix, part: Prefix) -> list[Prefix]:
    if whole.version != part.version or not whole.overlaps(part):
        return [whole]
    if _within(whole, part):
        return []
    return list(whole.address_exclude(part))  # type: ignore[arg-type]


def delete_pool(tx: Tx, pool: SubnetPool) -> None:
    """Raises SubnetPoolInUse."""
    if tx.select(Subnet, subnetpool_id=pool.id, limit=1):
        raise SubnetPoolInUse(f"Unable to delete subnetpool {pool.id}: Subnet pool has existing allocations.")
    tx.remove_where(Rbac, object_id=pool.id)
    tx.remove(pool)
    network_quota.refund(tx, pool.project_id, "subnetpool")


def check_affinity(reader: Reader, network_id: str, pool: SubnetPool) -> None:
    """A network's prefixes of one version come from one pool, or from pools of one address scope, so that none is
    reached in two ways. Raises NetworkSubnetPoolAffinityError, NetworkAddressScopeAffinityError."""
    there = reader.select(Subnet, network_id=network_id, ip_version=pool.ip_version)
    pools = {p.id: p for p in reader.select(SubnetPool, id={s.subnetpool_id for s in there} - {""})}
    scope = next((p.address_scope_id for p in pools.values() if p.address_scope_id), "")
    if scope and pool.address_scope_id != scope:
        raise NetworkAddressScopeAffinityError(
            "Subnets of a network must be allocated from subnet pools of the same address scope.", field="subnetpool_id"
        )
    if not scope and any(s.subnetpool_id != pool.id for s in there):
        raise NetworkSubnetPoolAffinityError(
            "Subnets hosted on the same network must be allocated from the same subnet pool.", field="subnetpool_id"
        )


def cut(tx: Tx, pool: SubnetPool, *, project_id: str, cidr: str = "", prefixlen: int | None = None) -> str:
    """A free prefix of the pool: this one, or the first of that length. Raises SubnetAllocationError, InvalidInput."""
    # the pool's row is the lock under which two requests cannot be given the same prefix
    pool = tx.change(pool)
    taken = [ipaddress.ip_network(s.cidr) for s in tx.select(Subnet, subnetpool_id=pool.id)]
    length = (
        ipaddress.ip_network(cidr).prefixlen if cidr else (pool.default_prefixlen if prefixlen is None else prefixlen)
    )
    if not pool.min_prefixlen <= length <= pool.max_prefixlen:
        raise InvalidInput(
            f"Unable to allocate subnet with prefix length {length}, allowed are {pool.min_prefixlen} to "
            f"{pool.max_prefixlen}.",
            field="prefixlen",
        )
    _check_share(tx, pool, project_id, length)
    if cidr:
        wanted = ipaddress.ip_network(cidr)
        inside = any(_within(wanted, ipaddress.ip_network(p)) for p in pool.prefixes)
        if not inside or any(_overlap(wanted, t) for t in taken):
            raise SubnetAllocationError(
                "Failed to allocate subnet: Cannot allocate requested subnet from the available set of prefixes."
            )
        return cidr
    for prefix in map(ipaddress.ip_network, pool.prefixes):
        found = _first_free(prefix, [t for t in taken if t.version == prefix.version], length)
        if found is not None:
            return str(found)
    raise SubnetAllocationError(
        f"Failed to allocate subnet: Insufficient prefix space to allocate subnet size /{length}."
    )


def _overlap(one: Prefix, other: Prefix) -> bool:
    return one.version == other.version and one.overlaps(other)


def _first_free(prefix: Prefix, taken: Sequence[Prefix], length: int) -> Prefix | None:
    """Step over what is taken, block by block: as many steps as there are subnets, not as there are blocks."""
    if length < prefix.prefixlen:
        return None
    size = 1 << (prefix.max_prefixlen - length)
    at = int(prefix.network_address)
    for used in sorted(taken, key=lambda t: int(t.network_address)):
        if int(used.network_address) >= at + size:
            break
        if int(used.broadcast_address) >= at:
            after = int(used.broadcast_address) + 1
            at = -(-after // size) * size
    if at + size - 1 > int(prefix.broadcast_address):
        return None
    return ipaddress.ip_network((at, length)) if prefix.version == 4 else ipaddress.IPv6Network((at, length))


def _check_share(tx: Tx, pool: SubnetPool, project_id: str, length: int) -> None:
    if pool.default_quota < 0:
        return
    unit = 32 if pool.ip_version == 4 else 64
    cidrs = [ipaddress.ip_network(s.cidr) for s in tx.select(Subnet, subnetpool_id=pool.id, project_id=project_id)]
    used = sum(1 << max(0, unit - c.prefixlen) for c in cidrs)
    if used + (1 << max(0, unit - length)) > pool.default_quota:
        raise SubnetPoolQuotaExceeded("Per-tenant subnet pool prefix quota exceeded.")


def create_scope(tx: Tx, *, project_id: str, name: str, ip_version: int, shared: bool) -> AddressScope:
    return tx.add(AddressScope(id=new_id(), name=name, project_id=project_id, ip_version=ip_version, shared=shared))


def update_scope(
    tx: Tx, scope: AddressScope, *, name: str | UnsetType = UNSET, shared: bool | UnsetType = UNSET
) -> AddressScope:
    """Raises BadRequest for un-sharing, as Neutron does."""
    if scope.shared and shared is False:
        raise BadRequest("Unable to update address scope: Shared address scope can't be unshared.", field="shared")
    given: dict[str, Any] = {"name": name, "shared": shared}
    changes = {f: v for f, v in given.items() if v is not UNSET and v != getattr(scope, f)}
    return tx.change(scope, **changes) if changes else scope


def delete_scope(tx: Tx, scope: AddressScope) -> None:
    """Raises AddressScopeInUse."""
    if tx.select(SubnetPool, address_scope_id=scope.id, limit=1):
        raise AddressScopeInUse(
            f"Unable to complete operation on address scope {scope.id}. There are one or more subnet pools in use on "
            "the address scope."
        )
    tx.remove_where(Rbac, object_id=scope.id)
    tx.remove(scope)
