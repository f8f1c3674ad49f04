"""Registered limits and limits: kept for services that ask; Trilith's own services enforce their quotas."""

from __future__ import annotations

from typing import Any

from trilith import errors
from trilith.model.identity import Domain, Limit, Project, Region, RegisteredLimit, Service
from trilith.store.tx import Tx


def create_registered(tx: Tx, limits: list[RegisteredLimit]) -> list[RegisteredLimit]:
    """All or none. Raises Invalid for an unknown service or region, Conflict for one that is there."""
    for limit in limits:
        _check(tx, limit.service_id, limit.region_id)
    return [tx.add(limit) for limit in limits]


def update_registered(tx: Tx, id: str, changes: dict[str, Any]) -> RegisteredLimit:
    """Raises Missing, Invalid, Conflict, Forbidden for a change of what limits hang on."""
    limit = tx.get(RegisteredLimit, id)
    _check(tx, changes.get("service_id", ""), changes.get("region_id", ""))
    named = {"service_id", "region_id", "resource_name"} & {k for k, v in changes.items() if v != getattr(limit, k)}
    if named and tx.count(Limit, registered_limit_id=id):
        raise errors.Forbidden(f"Registered limit {id} has limits that hang on it.", hint="Delete those first.")
    return tx.change(limit, **changes) if changes else limit


def delete_registered(tx: Tx, id: str) -> None:
    """Raises Missing, Forbidden while limits hang on it."""
    limit = tx.get(RegisteredLimit, id)
    if tx.count(Limit, registered_limit_id=id):
        raise errors.Forbidden(f"Registered limit {id} has limits that hang on it.", hint="Delete those first.")
    tx.remove(limit)


def find_registered(tx: Tx, service_id: str, region_id: str, resource_name: str) -> RegisteredLimit:
    """Raises Invalid: a limit needs the registered one."""
    found = tx.first(RegisteredLimit, service_id=service_id, region_id=region_id, resource_name=resource_name)
    if found is None:
        raise errors.Invalid(f"There is no registered limit of {resource_name} for service {service_id}.")
    return found


def create_limits(tx: Tx, limits: list[Limit]) -> list[Limit]:
    """All or none. Raises Missing for an unknown project or domain, Conflict for one that is there."""
    for limit in limits:
        if bool(limit.project_id) == bool(limit.domain_id):
            raise errors.Invalid("A limit is of a project or of a domain: give one of both.", field="project_id")
        if limit.project_id:
            tx.get(Project, limit.project_id)
        else:
            tx.get(Domain, limit.domain_id)
    return [tx.add(limit) for limit in limits]


def update_limit(tx: Tx, id: str, changes: dict[str, Any]) -> Limit:
    """Raises Missing."""
    limit = tx.get(Limit, id)
    return tx.change(limit, **changes) if changes else limit


def delete_limit(tx: Tx, id: str) -> None:
    """Raises Missing."""
    tx.remove(tx.get(Limit, id))


def _check(tx: Tx, service_id: str, region_id: str) -> None:
    if service_id and tx.find(Service, service_id) is None:
        raise errors.Invalid(f"Could not find service: {service_id}.", field="service_id")
    if region_id and tx.find(Region, region_id) is None:
        raise errors.Invalid(f"Could not find region: {region_id}.", field="region_id")
