"""Unified limits: registered limits (the defaults) and limits (of a project or a domain in their place).

Two models, as in Keystone. flat: each limit for itself. strict_two_level: there are domains and the projects right
below them, and no project's limit is above its domain's.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from trilith import errors
from trilith.model.identity import Domain, Limit, Project, Region, RegisteredLimit, Service
from trilith.store.mapping import REGISTRY
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
    """Raises Forbidden, as Keystone does: a limit needs the registered one."""
    found = tx.first(RegisteredLimit, service_id=service_id, region_id=region_id, resource_name=resource_name)
    if found is None:
        raise errors.Forbidden(
            f"There is no registered limit of {resource_name} for service {service_id}.",
            hint="Register it first, in the same region.",
        )
    return found


def create_limits(tx: Tx, limits: list[Limit], *, strict: bool = False) -> list[Limit]:
    """All or none. strict: by the model strict_two_level.

    Raises Missing for an unknown project or domain, Conflict for one that is there, Forbidden for one that the model
    does not allow.
    """
    for limit in limits:
        if bool(limit.project_id) == bool(limit.domain_id):
            raise errors.Invalid("A limit is of a project or of a domain: give one of both.", field="project_id")
        if limit.project_id:
            tx.get(Project, limit.project_id)
        else:
            tx.get(Domain, limit.domain_id)
    made = [tx.add(limit) for limit in limits]
    if strict:
        for limit in made:  # after all of the request were made: a domain's may come with those of its projects
            _check_tree(tx, limit)
    return made


def update_limit(tx: Tx, id: str, changes: dict[str, Any], *, strict: bool = False) -> Limit:
    """Raises Missing, Forbidden for one that the model does not allow."""
    limit = tx.get(Limit, id)
    done = tx.change(limit, **changes) if changes else limit
    if strict:
        _check_tree(tx, done)
    return done


def _check_tree(tx: Tx, limit: Limit) -> None:
    """Raises Forbidden where a project's limit would be above its domain's."""
    if limit.domain_id:
        t, p = REGISTRY[Limit].table.c, REGISTRY[Project].table.c
        below = t.project_id.in_(sa.select(p.id).where(p.domain_id == limit.domain_id))
        for one in tx.select(Limit, below, registered_limit_id=limit.registered_limit_id):
            if _above(one.resource_limit, limit.resource_limit):
                raise _invalid(f"project {one.project_id} has {one.resource_limit}, the domain {limit.resource_limit}")
        return
    project = tx.get(Project, limit.project_id)
    if project.parent_id != project.domain_id:
        raise _invalid(f"project {project.id} is not right below its domain, as the model strict_two_level asks")
    own = tx.first(Limit, registered_limit_id=limit.registered_limit_id, domain_id=project.domain_id)
    most = own.resource_limit if own else tx.get(RegisteredLimit, limit.registered_limit_id).default_limit
    if _above(limit.resource_limit, most):
        raise _invalid(f"project {project.id} would have {limit.resource_limit}, its domain has {most}")


def _above(value: int, bound: int) -> bool:
    """-1 is no limit at all."""
    return bound >= 0 and (value < 0 or value > bound)


def _invalid(reason: str) -> errors.Forbidden:
    return errors.Forbidden(f"Invalid resource limit: {reason}.")


def delete_limit(tx: Tx, id: str) -> None:
    """Raises Missing."""
    tx.remove(tx.get(Limit, id))


def _check(tx: Tx, service_id: str, region_id: str) -> None:
    if service_id and tx.find(Service, service_id) is None:
        raise errors.Invalid(f"Could not find service: {service_id}.", field="service_id")
    if region_id and tx.find(Region, region_id) is None:
        raise errors.Invalid(f"Could not find region: {region_id}.", field="region_id")
