"""/v3/services, /v3/regions and /v3/endpoints."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.catalog import endpoint_url
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import endpoint_view, region_view, service_view
from trilith.api.identity.wire import Name, RegionId, Text, Url, parse_open, set_fields
from trilith.commands.identity_catalog import (
    create_endpoint,
    create_region,
    create_service,
    delete_endpoint,
    delete_region,
    delete_service,
    update_endpoint,
    update_region,
    update_service,
)
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import Endpoint, Region, Service
from trilith.store.tx import Reader


class ServiceUpdate(Struct):
    name: Text | UnsetType = UNSET
    type: Name | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET


class ServiceCreate(ServiceUpdate, kw_only=True):
    type: Name


class ServiceBody(Struct):
    service: dict[str, Any]


class RegionUpdate(Struct):
    description: Text | UnsetType | None = UNSET
    parent_region_id: str | UnsetType | None = UNSET


class RegionCreate(RegionUpdate, kw_only=True):
    id: RegionId | UnsetType | None = UNSET


class RegionBody(Struct):
    region: dict[str, Any]


class EndpointUpdate(Struct):
    """region is the old name of region_id; it makes the region that it names."""

    interface: Literal["public", "internal", "admin"] | UnsetType = UNSET
    service_id: str | UnsetType = UNSET
    url: Url | UnsetType = UNSET
    region_id: str | UnsetType | None = UNSET
    region: RegionId | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    name: Text | UnsetType = UNSET


class EndpointCreate(EndpointUpdate, kw_only=True):
    interface: Literal["public", "internal", "admin"]
    service_id: str
    url: Url


class EndpointBody(Struct):
    endpoint: dict[str, Any]


async def create(call: Call) -> dict[str, Any]:
    """201. 400, 403."""
    given, extra = parse_open(call.body.service, ServiceCreate)
    service = Service(id=hex_id(), extra=extra, **({"name": ""} | set_fields(given)))
    return {"service": service_view(call, await call.write(lambda tx: create_service(tx, service), "service.create"))}


async def list_services(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    clauses = Filters(texts=("name", "type")).clauses(call, Service)
    found = await call.read(lambda r: listing.page(call, r, Service, "/v3/services", *clauses))
    return listing.answer("services", found, lambda s: service_view(call, s))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["service_id"]
    return {"service": service_view(call, await call.read(lambda r: r.get(Service, id)))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404."""
    id = call.params["service_id"]
    given, extra = parse_open(call.body.service, ServiceUpdate)
    fields = set_fields(given)
    if extra:
        fields["extra"] = extra
    done = await call.write(lambda tx: update_service(tx, id, dict(fields)), "service.update")
    return {"service": service_view(call, done)}


async def delete(call: Call) -> None:
    """204, its endpoints too. 403, 404."""
    id = call.params["service_id"]
    await call.write(lambda tx: delete_service(tx, id), "service.delete")


async def create_one_region(call: Call) -> dict[str, Any]:
    """201. 400 also when the path's id and the body's differ, 403, 404 for an unknown parent, 409."""
    given, extra = parse_open(call.body.region, RegionCreate)
    id = given.id if isinstance(given.id, str) else ""
    in_path = call.params.get("region_id", "")
    if in_path and id and in_path != id:
        raise errors.Invalid("The region's id differs from that of the URL.", field="id")
    region = Region(id=in_path or id or hex_id(), extra=extra, **set_fields(given, "id"))
    return {"region": region_view(call, await call.write(lambda tx: create_region(tx, region), "region.create"))}


async def list_regions(call: Call) -> dict[str, Any]:
    """200, a page."""
    clauses = Filters(texts=("parent_region_id",)).clauses(call, Region)
    found = await call.read(lambda r: listing.page(call, r, Region, "/v3/regions", *clauses))
    return listing.answer("regions", found, lambda r: region_view(call, r))


async def show_region(call: Call) -> dict[str, Any]:
    """200. 404."""
    id = call.params["region_id"]
    return {"region": region_view(call, await call.read(lambda r: r.get(Region, id)))}


async def update_one_region(call: Call) -> dict[str, Any]:
    """200. 400 for a circle, 403, 404."""
    id = call.params["region_id"]
    given, extra = parse_open(call.body.region, RegionUpdate)
    fields = set_fields(given)
    if extra:
        fields["extra"] = extra
    done = await call.write(lambda tx: update_region(tx, id, dict(fields)), "region.update")
    return {"region": region_view(call, done)}


async def delete_one_region(call: Call) -> None:
    """204. 403 also while endpoints or regions are in it, 404."""
    id = call.params["region_id"]
    await call.write(lambda tx: delete_region(tx, id), "region.delete")


def endpoint_shown(call: Call, endpoint: Endpoint, service: Service | None) -> dict[str, Any]:
    url = endpoint.url
    if not url and service is not None:
        url = endpoint_url(call.host.settings.url, service, endpoint, "%(project_id)s")
    return endpoint_view(call, endpoint, url)


def _fields(given: EndpointUpdate) -> tuple[dict[str, Any], bool]:
    """And whether an unknown region is to be made."""
    fields = set_fields(given, "region", "name")
    if isinstance(given.region, str) and not isinstance(given.region_id, str):
        return fields | {"region_id": given.region}, True
    return fields, False


def _extra(given: EndpointUpdate, extra: dict[str, Any]) -> dict[str, Any]:
    return extra if given.name is UNSET else extra | {"name": given.name}


async def create_one_endpoint(call: Call) -> dict[str, Any]:
    """201. 400 also for an unknown service or region, 403."""
    given, extra = parse_open(call.body.endpoint, EndpointCreate)
    fields, new_region = _fields(given)
    endpoint = Endpoint(id=hex_id(), extra=_extra(given, extra), **({"region_id": ""} | fields))
    made = await call.write(lambda tx: create_endpoint(tx, endpoint, new_region=new_region), "endpoint.create")
    return {"endpoint": endpoint_shown(call, made, None)}


async def list_endpoints(call: Call) -> dict[str, Any]:
    """200, a page. 403."""
    clauses = Filters(
        texts=("interface", "service_id", "region_id", "region"), renamed=(("region", "region_id"),)
    ).clauses(call, Endpoint)

    def look(reader: Reader) -> tuple[listing.Page, dict[str, Service]]:
        page = listing.page(call, reader, Endpoint, "/v3/endpoints", *clauses)
        ids = {e.service_id for e in page.records}
        return page, {s.id: s for s in reader.select(Service, id=ids)} if ids else {}

    found, services = await call.read(look)
    return listing.answer("endpoints", found, lambda e: endpoint_shown(call, e, services.get(e.service_id)))


async def _endpoint(call: Call) -> tuple[Endpoint, Service | None]:
    id = call.params["endpoint_id"]

    def look(reader: Reader) -> tuple[Endpoint, Service | None]:
        endpoint = reader.get(Endpoint, id)
        return endpoint, reader.find(Service, endpoint.service_id)

    return await call.read(look)


async def show_endpoint(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"endpoint": endpoint_shown(call, *await _endpoint(call))}


async def update_one_endpoint(call: Call) -> dict[str, Any]:
    """200. 400 also for an unknown service or region, 403, 404."""
    given, extra = parse_open(call.body.endpoint, EndpointUpdate)
    endpoint, service = await _endpoint(call)
    fields, new_region = _fields(given)
    if extra or given.name is not UNSET:
        fields["extra"] = _extra(given, extra)
    done = await call.write(
        lambda tx: update_endpoint(tx, endpoint.id, dict(fields), new_region=new_region), "endpoint.update"
    )
    return {"endpoint": endpoint_shown(call, done, service)}


async def delete_one_endpoint(call: Call) -> None:
    """204. 403, 404."""
    id = call.params["endpoint_id"]
    await call.write(lambda tx: delete_endpoint(tx, id), "endpoint.delete")
