"""Regions, services and endpoints: what the catalogue is made of."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from trilith import errors
from trilith.commands.identity_rules import hex_id, merged
from trilith.model.identity import Endpoint, Region, Service
from trilith.model.identity_extensions import ProjectEndpoint
from trilith.store.tx import Tx


def create_region(tx: Tx, region: Region) -> Region:
    """Raises Missing for an unknown parent, Conflict for an id taken."""
    if region.parent_region_id:
        tx.get(Region, region.parent_region_id)
    if tx.find(Region, region.id) is not None:
        raise errors.Conflict(f"Duplicate ID, {region.id}.")
    return tx.add(region)


def update_region(tx: Tx, region_id: str, changes: dict[str, Any]) -> Region:
    """Raises Missing, Invalid for a circle of parents."""
    region = tx.get(Region, region_id)
    above = changes.get("parent_region_id", "")
    while above:
        if above == region_id:
            raise errors.Invalid("A region cannot be above itself.", field="parent_region_id")
        above = tx.get(Region, above).parent_region_id
    return tx.change(region, **merged(region, changes)) if changes else region


def delete_region(tx: Tx, region_id: str) -> None:
    """Raises Missing, Forbidden while endpoints or regions are in it."""
    region = tx.get(Region, region_id)
    if tx.count(Endpoint, region_id=region_id) or tx.count(Region, parent_region_id=region_id):
        raise errors.Forbidden(f"Unable to delete region {region_id} because it or its child regions have endpoints.")
    tx.remove(region)


def create_service(tx: Tx, service: Service) -> Service:
    return tx.add(service)


def update_service(tx: Tx, service_id: str, changes: dict[str, Any]) -> Service:
    """Raises Missing."""
    service = tx.get(Service, service_id)
    return tx.change(service, **merged(service, changes)) if changes else service


def delete_service(tx: Tx, service_id: str) -> None:
    """With its endpoints. Raises Missing."""
    service = tx.get(Service, service_id)
    for endpoint in tx.select(Endpoint, service_id=service_id):
        delete_endpoint(tx, endpoint.id)
    tx.remove(service)


def create_endpoint(tx: Tx, endpoint: Endpoint, *, new_region: bool = False) -> Endpoint:
    """new_region: the region is made when it is not there (what `region` in place of `region_id` means).

    Raises Invalid for an unknown service or region (Keystone says 400 there).
    """
    _check(tx, endpoint.service_id, endpoint.region_id, new_region)
    return tx.add(replace(endpoint, id=endpoint.id or hex_id()))


def update_endpoint(tx: Tx, endpoint_id: str, changes: dict[str, Any], *, new_region: bool = False) -> Endpoint:
    """Raises Missing, Invalid."""
    endpoint = tx.get(Endpoint, endpoint_id)
    _check(tx, changes.get("service_id", ""), changes.get("region_id", ""), new_region)
    return tx.change(endpoint, **merged(endpoint, changes)) if changes else endpoint


def delete_endpoint(tx: Tx, endpoint_id: str) -> None:
    """Projects that it was chosen for lose it. Raises Missing."""
    endpoint = tx.get(Endpoint, endpoint_id)
    tx.remove_where(ProjectEndpoint, endpoint_id=endpoint_id)
    tx.remove(endpoint)


def _check(tx: Tx, service_id: str, region_id: str, new_region: bool) -> None:
    if service_id and tx.find(Service, service_id) is None:
        raise errors.Invalid(f"Could not find service: {service_id}.", field="service_id")
    if region_id and tx.find(Region, region_id) is None:
        if not new_region:
            raise errors.Invalid(f"Could not find region: {region_id}.", field="region_id")
        tx.add(Region(id=region_id))
