"""/v3/roles, which imply which, and /v3/role_inferences."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET, Struct, UnsetType

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import listing
from trilith.api.identity.domains import Options
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import link, role_view
from trilith.api.identity.wire import Links, Name, Text, parse_open, set_fields
from trilith.commands.identity_roles import create_role, delete_role, imply, unimply, update_role
from trilith.commands.identity_rules import hex_id, merged_options
from trilith.model.identity import ImpliedRole, Role
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class RoleUpdate(Struct):
    name: Name | UnsetType = UNSET
    domain_id: str | UnsetType | None = UNSET
    description: Text | UnsetType | None = UNSET
    options: Options | UnsetType = UNSET


class RoleCreate(RoleUpdate, kw_only=True):
    name: Name


class RoleBody(Struct):
    role: dict[str, Any]


class RoleShort(Struct):
    id: str
    name: str
    links: Links


class Inference(Struct):
    prior_role: RoleShort
    implies: RoleShort


class Inferences(Struct):
    prior_role: RoleShort
    implies: list[RoleShort]


class OneInference(Struct):
    role_inference: Inference
    links: Links


class PriorInferences(Struct):
    role_inference: Inferences
    links: Links


def _short(call: Call, role: Role) -> RoleShort:
    return RoleShort(id=role.id, name=role.name, links=link(call, f"roles/{role.id}"))


async def _load(call: Call, what: str) -> Role:
    """A role of a domain has policies of its own. Raises Forbidden before Missing."""
    id = call.params["role_id"]
    role = await call.read(lambda r: r.find(Role, id))
    call.allow(f"identity:{what}_domain_role" if role and role.domain_id else f"identity:{what}_role")
    if role is None:
        raise errors.Missing(f"Could not find role: {id}.")
    return role


async def create(call: Call) -> dict[str, Any]:
    """201. 400, 403, 404 for an unknown domain, 409 for a name taken."""
    given, extra = parse_open(call.body.role, RoleCreate)
    call.allow("identity:create_domain_role" if given.domain_id else "identity:create_role")
    fields = set_fields(given, "options")
    if given.options is not UNSET:
        fields["options"] = merged_options({}, {"immutable": given.options.immutable})
    role = Role(id=hex_id(), extra=extra, **fields)
    made = await call.write(lambda tx: create_role(tx, role), "role.create")
    return {"role": role_view(call, made)}


async def list_roles(call: Call) -> dict[str, Any]:
    """200, a page: the global ones, or with domain_id those of a domain. 403."""
    domain_id = call.one("domain_id")
    call.allow("identity:list_domain_roles" if domain_id else "identity:list_roles")
    clauses = Filters(texts=("name",)).clauses(call, Role)
    clauses.append(REGISTRY[Role].table.c.domain_id == domain_id)
    found = await call.read(lambda r: listing.page(call, r, Role, "/v3/roles", *clauses))
    return listing.answer("roles", found, lambda role: role_view(call, role))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    return {"role": role_view(call, await _load(call, "get"))}


async def update(call: Call) -> dict[str, Any]:
    """200. 400, 403, 404, 409 for a name taken."""
    role = await _load(call, "update")
    given, extra = parse_open(call.body.role, RoleUpdate)
    fields = set_fields(given, "options")
    if given.options is not UNSET:
        fields["options"] = {"immutable": given.options.immutable}
    if extra:
        fields["extra"] = extra
    done = await call.write(lambda tx: update_role(tx, role.id, dict(fields)), "role.update")
    return {"role": role_view(call, done)}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    role = await _load(call, "delete")
    await call.write(lambda tx: delete_role(tx, role.id), "role.delete")


def _rule(reader: Reader, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Raises Missing."""
    prior, implied = reader.get(Role, prior_id), reader.get(Role, implied_id)
    if reader.first(ImpliedRole, prior_id=prior_id, implied_id=implied_id) is None:
        raise errors.Missing(f"{prior_id} does not imply {implied_id}.")
    return prior, implied


def _inference(call: Call, prior: Role, implied: Role) -> OneInference:
    return OneInference(
        role_inference=Inference(prior_role=_short(call, prior), implies=_short(call, implied)),
        links=link(call, f"roles/{prior.id}/implies/{implied.id}"),
    )


async def create_implied(call: Call) -> OneInference:
    """201. 400 for a circle, 403, 404."""
    prior_id, implied_id = call.params["role_id"], call.params["implied_role_id"]
    return _inference(call, *await call.write(lambda tx: imply(tx, prior_id, implied_id), "role.imply"))


async def show_implied(call: Call) -> OneInference:
    """200. 403, 404."""
    prior_id, implied_id = call.params["role_id"], call.params["implied_role_id"]
    return _inference(call, *await call.read(lambda r: _rule(r, prior_id, implied_id)))


async def check_implied(call: Call) -> None:
    """204. 403, 404."""
    prior_id, implied_id = call.params["role_id"], call.params["implied_role_id"]
    await call.read(lambda r: _rule(r, prior_id, implied_id))


async def delete_implied(call: Call) -> None:
    """204. 403, 404."""
    prior_id, implied_id = call.params["role_id"], call.params["implied_role_id"]
    await call.write(lambda tx: unimply(tx, prior_id, implied_id), "role.unimply")


async def list_implied(call: Call) -> PriorInferences:
    """200: those that the role implies directly. 403, 404."""
    prior_id = call.params["role_id"]

    def look(reader: Reader) -> tuple[Role, list[Role]]:
        prior = reader.get(Role, prior_id)
        ids = [rule.implied_id for rule in reader.select(ImpliedRole, prior_id=prior_id)]
        return prior, reader.select(Role, id=ids)

    prior, implied = await call.read(look)
    return PriorInferences(
        role_inference=Inferences(prior_role=_short(call, prior), implies=[_short(call, r) for r in implied]),
        links=link(call, f"roles/{prior_id}/implies"),
    )


async def list_inferences(call: Call) -> dict[str, Any]:
    """200: every rule, by the role that implies. 403."""

    def look(reader: Reader) -> tuple[dict[str, Role], list[ImpliedRole]]:
        return {r.id: r for r in reader.select(Role)}, reader.select(ImpliedRole)

    roles, rules = await call.read(look)
    by_prior: dict[str, list[RoleShort]] = {}
    for rule in rules:
        by_prior.setdefault(rule.prior_id, []).append(_short(call, roles[rule.implied_id]))
    shown = [Inferences(prior_role=_short(call, roles[id]), implies=implied) for id, implied in by_prior.items()]
    return {"role_inferences": shown, "links": link(call, "role_inferences")}
