"""/v3/domains."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import domain_view
from trilith.api.identity.wire import Id, ShortName, Tag, Text, parse_open, set_fields
from trilith.commands.identity_domains import create_domain, delete_domain, update_domain
from trilith.commands.identity_rules import hex_id, merged_options
from trilith.model.identity import Domain
from trilith.store.mapping import REGISTRY


class Options(Struct, forbid_unknown_fields=True):
    """Keystone's resource options of projects, domains and roles."""

    immutable: bool | None = None


class DomainUpdate(Struct):
    name: ShortName | UnsetType = UNSET
    description: Text | UnsetType | None = UNSET
    enabled: bool | UnsetType = UNSET
    tags: list[Tag] | UnsetType = UNSET
    options: Options | UnsetType = UNSET


class DomainCreate(DomainUpdate, kw_only=True):
    name: ShortName
    explicit_domain_id: Id | UnsetType = UNSET


class DomainBody(Struct):
    domain: dict[str, Any]


async def make(call: Call, domain: Domain) -> Domain:
    return await call.write(lambda tx: create_domain(tx, domain), "domain.create")


async def change(call: Call, domain_id: str, fields: dict[str, Any]) -> Domain:
    return await call.write(lambda tx: update_domain(tx, domain_id, dict(fields)), "domain.update")


async def erase(call: Call, domain_id: str) -> None:
    await call.write(lambda tx: delete_domain(tx, domain_id), "domain.delete")


def _fields(given: DomainUpdate, extra: dict[str, Any]) -> dict[str, Any]:
    fields = set_fields(given, "options", "tags", "explicit_domain_id")
    if given.tags is not UNSET:
        fields["tags"] = tuple(given.tags)
    if given.options is not UNSET:
        fields["options"] = {"immutable": given.options.immutable}
    if extra:
        fields["extra"] = extra
    return fields


async def create(call: Call) -> dict[str, Any]:
    """201. 400 for a bad attribute, 403, 409 for a name or id taken."""
    given, extra = parse_open(call.body.domain, DomainCreate)
    id = hex_id() if given.explicit_domain_id is UNSET else given.explicit_domain_id
    fields = _fields(given, extra)
    fields["options"] = merged_options({}, fields.get("options", {}))
    made = await make(call, Domain(id=id, **fields))
    return {"domain": domain_view(call, made)}


async def list_domains(call: Call) -> dict[str, Any]:
    """200, a page; with a token of a domain only that one. 403."""
    call.allow("identity:list_domains", **{"target.domain_id": call.actor.domain_id})
    clauses = Filters(texts=("name",), flags=("enabled",)).clauses(call, Domain)
    if call.actor.domain_id and not call.actor.is_admin:
        clauses.append(REGISTRY[Domain].table.c.id == call.actor.domain_id)
    found = await call.read(lambda r: listing.page(call, r, Domain, "/v3/domains", *clauses))
    return listing.answer("domains", found, lambda d: domain_view(call, d))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    id = call.params["domain_id"]
    call.allow("identity:get_domain", **{"target.domain.id": id})
    found = await call.read(lambda r: r.find(Domain, id))
    if found is None:
        raise errors.Missing(f"Could not find domain: {id}.")
    return {"domain": domain_view(call, found)}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404, 409 for a name taken."""
    id = call.params["domain_id"]
    given, extra = parse_open(call.body.domain, DomainUpdate)
    return {"domain": domain_view(call, await change(call, id, _fields(given, extra)))}


async def delete(call: Call) -> None:
    """204. 403 also while it is enabled, 404."""
    await erase(call, call.params["domain_id"])
