"""/flavors, their extra specs and who may use them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import sqlalchemy as sa
from msgspec import UNSET, UnsetType

from trilith import errors
from trilith.api.compute import paging
from trilith.api.compute.extra_specs import check_extra_spec
from trilith.api.compute.faults import unexpected
from trilith.api.compute.microversions import has
from trilith.api.compute.wire import (
    Description,
    Flag,
    Link,
    Name,
    Number,
    Text255,
    flag,
    links,
    number,
    one_key,
    refuse_newer,
)
from trilith.api.http.call import Call
from trilith.api.http.route import Answer
from trilith.commands import flavors as commands
from trilith.model.server import Flavor
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader

_MAX = 2**31 - 1
#: sort_key → column; the wire names are those of Nova's database
SORT_KEYS = {
    "created_at": "created_at",
    "description": "description",
    "disabled": "disabled",
    "ephemeral_gb": "ephemeral",
    "flavorid": "id",
    "id": "seq",
    "is_public": "public",
    "memory_mb": "ram",
    "name": "name",
    "root_gb": "disk",
    "rxtx_factor": "rxtx_factor",
    "swap": "swap",
    "updated_at": "updated_at",
    "vcpu_weight": "",
    "vcpus": "vcpus",
}
LIST_QUERY = ("limit", "marker", "is_public", "minRam", "minDisk", "sort_key", "sort_dir", "name")


class FlavorBrief(msgspec.Struct, kw_only=True):
    id: str
    name: str
    links: list[Link]
    description: str | UnsetType | None = UNSET


class FlavorView(FlavorBrief, kw_only=True):
    ram: int
    disk: int
    vcpus: int
    swap: int | str
    ephemeral: int = msgspec.field(name="OS-FLV-EXT-DATA:ephemeral")
    public: bool = msgspec.field(name="os-flavor-access:is_public")
    disabled: bool | UnsetType = msgspec.field(name="OS-FLV-DISABLED:disabled", default=UNSET)
    rxtx_factor: float | UnsetType = UNSET
    extra_specs: dict[str, str] | UnsetType = UNSET


class FlavorOne(msgspec.Struct):
    flavor: FlavorView


class FlavorList(msgspec.Struct):
    flavors: list[Any]
    flavors_links: list[Link] | UnsetType = UNSET


class NewFlavor(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    name: Name
    ram: Number
    vcpus: Number
    disk: Number
    id: (
        Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^(?! )[a-zA-Z0-9. _-]+(?<! )$")]
        | int
        | float
        | None
    ) = None
    ephemeral: Number = msgspec.field(name="OS-FLV-EXT-DATA:ephemeral", default=0)
    swap: Number = 0
    rxtx_factor: float | Annotated[str, msgspec.Meta(pattern=r"^[0-9]+(\.[0-9]+)?$")] | UnsetType = UNSET
    public: Flag = msgspec.field(name="os-flavor-access:is_public", default=True)
    description: Description | UnsetType | None = UNSET


class Create(msgspec.Struct, forbid_unknown_fields=True):
    flavor: NewFlavor


class Changed(msgspec.Struct, forbid_unknown_fields=True):
    description: Description | None


class Update(msgspec.Struct, forbid_unknown_fields=True):
    flavor: Changed


def view(call: Call, flavor: Flavor, *, extra_specs: bool, empty_swap: bool | None = None) -> FlavorView:
    version = call.version
    gone = has(version, "strict_queries")
    words = not has(version, "consistent") if empty_swap is None else empty_swap
    return FlavorView(
        id=flavor.id,
        name=flavor.name,
        links=links(call, "flavors", flavor.id),
        ram=flavor.ram,
        disk=flavor.disk,
        vcpus=flavor.vcpus,
        swap=flavor.swap or ("" if words else 0),
        ephemeral=flavor.ephemeral,
        public=flavor.public,
        disabled=UNSET if gone else flavor.disabled,
        rxtx_factor=UNSET if gone else flavor.rxtx_factor,
        description=(flavor.description or None) if has(version, "flavor_description") else UNSET,
        extra_specs=flavor.extra_specs if extra_specs else UNSET,
    )


def _shows_specs(call: Call) -> bool:
    return has(call.version, "flavor_extra_specs") and call.can("os_compute_api:os-flavor-extra-specs:index")


async def index(call: Call) -> FlavorList:
    """200, names and ids. 400 for a filter that cannot be read or a marker that is not there."""
    found, more = await _page(call)
    described = has(call.version, "flavor_description")
    briefs = [
        FlavorBrief(
            id=f.id,
            name=f.name,
            links=links(call, "flavors", f.id),
            description=(f.description or None) if described else UNSET,
        )
        for f in found
    ]
    return FlavorList(briefs, paging.next_link(call, "/flavors", found[-1].id) if more else UNSET)


async def detail(call: Call) -> FlavorList:
    """200, whole flavors. 400 as index."""
    found, more = await _page(call)
    specs = _shows_specs(call)
    return FlavorList(
        [view(call, f, extra_specs=specs) for f in found],
        paging.next_link(call, "/flavors/detail", found[-1].id) if more else UNSET,
    )


async def _page(call: Call) -> tuple[list[Flavor], bool]:
    table = REGISTRY[Flavor].table
    limit, marker = paging.limit_of(call), paging.marker_of(call)
    sort = paging.sort_of(call, SORT_KEYS, (("id", "asc"),), missing="asc")
    clauses: list[sa.ColumnElement[bool]] = []
    for name, column in (("minRam", table.c.ram), ("minDisk", table.c.disk)):
        if text := call.one(name):
            if not text.removeprefix("-").isdecimal() or len(text) > 11:
                raise errors.Invalid(f"Invalid {name} filter [{text}]", field=name)
            clauses.append(column >= int(text))
    if call.one("name") and has(call.version, "strict_queries"):
        clauses.append(table.c.name == call.one("name"))
    wanted = _is_public(call)

    def read(reader: Reader) -> tuple[list[Flavor], bool]:
        here = list(clauses)
        if not call.actor.is_admin:
            here += [commands.visible_to(reader, call.actor.project_id), table.c.disabled.is_(False)]  # type: ignore[list-item]
        elif wanted is True:
            here.append(commands.visible_to(reader, call.actor.project_id))  # type: ignore[arg-type]
        elif wanted is False:
            here.append(table.c.public.is_(False))
        if marker:
            last = reader.find(Flavor, marker)
            if last is None:
                raise paging.no_marker(marker)
            here.append(paging.after(last, sort))
        rows = reader.select(Flavor, *here, order=paging.order_by(Flavor, sort), limit=limit)
        return rows, bool(rows) and len(rows) == limit  # a full page has a link, also when it is the last

    return await call.read(read)


def _is_public(call: Call) -> bool | None:
    text = call.one("is_public").strip().lower()
    if not text:
        return True
    if text == "none":
        return None
    if text in ("1", "true", "t", "yes", "y", "on"):
        return True
    if text in ("0", "false", "f", "no", "n", "off"):
        return False
    if call.actor.is_admin:
        raise errors.Invalid(f"Invalid is_public filter [{text}]", field="is_public")
    return True


async def show(call: Call) -> FlavorOne:
    """200; 404."""
    flavor = await call.read(lambda r: commands.shown(r, call.actor, call.params["id"]))
    return FlavorOne(view(call, flavor, extra_specs=_shows_specs(call)))


async def create(call: Call) -> FlavorOne:
    """200; 400; 409 for a name or id that is taken."""
    asked: NewFlavor = call.body.flavor
    refuse_newer(call, asked, {"description": "flavor_description"})
    if asked.rxtx_factor is not UNSET and has(call.version, "strict_queries"):
        unexpected("rxtx_factor")
    factor = 1.0 if asked.rxtx_factor is UNSET else float(asked.rxtx_factor)
    if not 0 < factor <= 3.40282e38:
        raise errors.Invalid(f"Invalid input for field/attribute rxtx_factor. Value: {factor}.", field="rxtx_factor")
    request = commands.FlavorRequest(
        name=asked.name,
        id="" if asked.id is None else str(asked.id),
        ram=number(asked.ram, "ram", least=1, most=_MAX),
        vcpus=number(asked.vcpus, "vcpus", least=1, most=_MAX),
        disk=number(asked.disk, "disk", most=_MAX),
        ephemeral=number(asked.ephemeral, "OS-FLV-EXT-DATA:ephemeral", most=_MAX),
        swap=number(asked.swap, "swap", most=_MAX),
        rxtx_factor=factor,
        public=flag(asked.public, "os-flavor-access:is_public"),
        description=(asked.description or "") if asked.description is not UNSET else "",
    )
    flavor = await call.write(lambda tx: commands.create(tx, request), "flavor.create")
    return FlavorOne(view(call, flavor, extra_specs=_shows_specs(call)))


async def update(call: Call) -> FlavorOne:
    """200; 404. Only the description can change."""
    text = call.body.flavor.description or ""
    flavor = await call.write(lambda tx: commands.describe(tx, call.params["id"], text), "flavor.update")
    return FlavorOne(view(call, flavor, extra_specs=_shows_specs(call)))


async def delete(call: Call) -> Answer:
    """202; 404."""
    await call.write(lambda tx: commands.delete(tx, call.params["id"]), "flavor.delete")
    return Answer(status=202)


# extra specs

SpecKey = Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9-_:. ]{1,255}$")]
Specs = dict[SpecKey, Text255 | int | float]


class SpecsBody(msgspec.Struct, forbid_unknown_fields=True):
    extra_specs: Annotated[Specs, msgspec.Meta(min_length=0)]


class SpecsView(msgspec.Struct):
    extra_specs: dict[str, Any]


async def list_specs(call: Call) -> SpecsView:
    """200; 404."""
    flavor = await call.read(lambda r: commands.shown(r, call.actor, call.params["id"]))
    return SpecsView(flavor.extra_specs)


async def create_specs(call: Call) -> SpecsView:
    """200 with what was given; 400; 404."""
    given: Specs = call.body.extra_specs
    specs = _checked(call, given)
    await call.write(lambda tx: commands.set_extra_specs(tx, call.params["id"], specs), "flavor.set_extra_specs")
    return SpecsView(given)


async def show_spec(call: Call) -> dict[str, str]:
    """200; 404."""
    flavor = await call.read(lambda r: commands.shown(r, call.actor, call.params["id"]))
    key = call.params["key"]
    if key not in flavor.extra_specs:
        raise errors.Missing(f"Flavor {flavor.id} has no extra specs with key {key}.")
    return {key: flavor.extra_specs[key]}


async def update_spec(call: Call) -> Specs:
    """200; 400 where path and body name different keys; 404."""
    key, _ = one_key(call.body, "extra spec")
    if key != call.params["key"]:
        raise errors.Invalid("Request body and URI mismatch")
    specs = _checked(call, call.body)
    await call.write(lambda tx: commands.set_extra_specs(tx, call.params["id"], specs), "flavor.set_extra_specs")
    body: Specs = call.body
    return body


async def delete_spec(call: Call) -> Answer:
    """200 without a body; 404."""
    await call.write(
        lambda tx: commands.remove_extra_spec(tx, call.params["id"], call.params["key"]), "flavor.remove_extra_spec"
    )
    return Answer()


def _checked(call: Call, given: Specs) -> dict[str, str]:
    specs = {k: str(v) for k, v in given.items()}
    if has(call.version, "checked_extra_specs"):
        for key, value in specs.items():
            check_extra_spec(key, value)
    return specs


# access


class Tenant(msgspec.Struct, forbid_unknown_fields=True):
    tenant: Annotated[str, msgspec.Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9-]*$")]


class AccessView(msgspec.Struct):
    flavor_access: list[dict[str, str]]


class AccessAction(msgspec.Struct, forbid_unknown_fields=True):
    addTenantAccess: Tenant | UnsetType = UNSET
    removeTenantAccess: Tenant | UnsetType = UNSET


def _access(flavor: Flavor) -> AccessView:
    return AccessView([{"flavor_id": flavor.id, "tenant_id": p} for p in flavor.projects])


async def list_access(call: Call) -> AccessView:
    """200; 404 also for a public flavor, which has no list."""
    flavor = await call.read(lambda r: commands.shown(r, call.actor, call.params["id"]))
    if flavor.public:
        raise errors.Missing("Access list not available for public flavors.")
    return _access(flavor)


async def action(call: Call) -> AccessView:
    """200, the list after; 400 for a project that is not there; 404; 409."""
    body: AccessAction = call.body
    flavor_id = call.params["id"]
    if body.addTenantAccess is not UNSET and body.removeTenantAccess is UNSET:
        call.allow("os_compute_api:os-flavor-access:add_tenant_access")
        tenant, strict = body.addTenantAccess.tenant, has(call.version, "access_of_public")
        return _access(
            await call.write(
                lambda tx: commands.add_access(tx, flavor_id, tenant, public_is_conflict=strict), "flavor.add_access"
            )
        )
    if body.removeTenantAccess is not UNSET and body.addTenantAccess is UNSET:
        call.allow("os_compute_api:os-flavor-access:remove_tenant_access")
        tenant = body.removeTenantAccess.tenant
        return _access(
            await call.write(lambda tx: commands.remove_access(tx, flavor_id, tenant), "flavor.remove_access")
        )
    raise errors.Invalid("There is no such action: addTenantAccess or removeTenantAccess.")
