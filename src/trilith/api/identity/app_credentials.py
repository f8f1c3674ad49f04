"""/v3/users/{id}/application_credentials and /v3/users/{id}/access_rules."""

from __future__ import annotations

import secrets
import time
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from trilith import errors
from trilith.api.http.call import Call
from trilith.api.identity import catalog, listing
from trilith.api.identity.auth import tokens_of
from trilith.api.identity.listing import Filters
from trilith.api.identity.views import link
from trilith.api.identity.wire import Links, Name, Text, naive_isotime, or_none, parse_time
from trilith.commands import passwords
from trilith.commands.identity_delegation import (
    RoleRef,
    Rule,
    create_app_credential,
    delete_access_rule,
    delete_app_credential,
)
from trilith.commands.identity_rules import hex_id
from trilith.model.identity import AccessRule, ApplicationCredential, Role, User
from trilith.store.mapping import REGISTRY
from trilith.store.tx import Reader


class RoleGiven(Struct):
    id: Text | None = None
    name: Text | None = None


class RuleGiven(Struct, forbid_unknown_fields=True):
    id: Text | None = None
    service: Annotated[str, Meta(min_length=1, max_length=255)] | None = None
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] | None = None
    path: Annotated[str, Meta(min_length=1, max_length=128, pattern="^/")] | None = None


class Create(Struct):
    name: Name
    description: Text | None = None
    secret: Annotated[str, Meta(min_length=1, max_length=passwords.LONGEST)] | None = None
    expires_at: Text | None = None
    roles: Annotated[list[RoleGiven], Meta(max_length=256)] | None = None
    unrestricted: bool | None = None
    access_rules: Annotated[list[RuleGiven], Meta(max_length=256)] | None = None


class CreateBody(Struct):
    application_credential: Create


class RoleShown(Struct):
    id: str
    name: str
    domain_id: str | None


class View(Struct):
    id: str
    name: str
    description: str | None
    user_id: str
    project_id: str
    roles: list[RoleShown]
    expires_at: str | None
    unrestricted: bool
    system: str | None
    links: Links


class ViewRules(View):
    access_rules: list[catalog.RuleRef]


class RuleView(Struct):
    id: str
    service: str
    method: str
    path: str
    links: Links


Shelf = tuple[dict[str, Role], dict[str, AccessRule]]


def _shelf(reader: Reader, found: list[ApplicationCredential]) -> Shelf:
    """The roles and rules of all, a query each."""
    role_ids = {id for c in found for id in c.roles}
    rule_ids = {id for c in found for id in c.access_rules}
    roles = {r.id: r for r in reader.select(Role, id=role_ids)} if role_ids else {}
    rules = {r.id: r for r in reader.select(AccessRule, id=rule_ids)} if rule_ids else {}
    return roles, rules


def _view(call: Call, c: ApplicationCredential, shelf: Shelf) -> View:
    roles, rules = shelf
    plain = View(
        id=c.id,
        name=c.name,
        description=or_none(c.description),
        user_id=c.user_id,
        project_id=c.project_id,
        roles=[RoleShown(r.id, r.name, or_none(r.domain_id)) for id in c.roles if (r := roles.get(id))],
        expires_at=naive_isotime(c.expires_at) if c.expires_at else None,
        unrestricted=c.unrestricted,
        system=None,
        links=link(call, f"users/{c.user_id}/application_credentials/{c.id}"),
    )
    if not c.access_rules:
        return plain
    shown = catalog.rule_refs([rules[id] for id in c.access_rules if id in rules])
    return ViewRules(**{n: getattr(plain, n) for n in plain.__struct_fields__}, access_rules=shown)


def _unrestricted(call: Call, reader: Reader) -> None:
    """Raises Forbidden: a restricted application credential makes and deletes no others, so that none outlives it."""
    if call.actor.trust_id or call.actor.access_token_id:
        raise errors.Forbidden("A token of a trust, or of OAuth, cannot manage application credentials.")
    if not call.actor.credential_id:
        return
    own = reader.find(ApplicationCredential, call.actor.credential_id)
    if own is None or not own.unrestricted:
        raise errors.Forbidden("Could not manage application credentials: this one is restricted.")


async def create(call: Call) -> dict[str, Any]:
    """201, with the secret: it is shown this once. 400 for a bad attribute or a role that the token lacks, 403,
    404, 409 for a name taken."""
    user_id, given = call.params["user_id"], call.body.application_credential
    call.allow("identity:create_application_credential", **{"target.user.id": user_id})
    await call.read(lambda r: _unrestricted(call, r))
    if not call.actor.project_id:
        raise errors.Invalid("An application credential needs a token of a project.")
    expires = parse_time(given.expires_at, "expires_at") if given.expires_at else 0.0
    if expires and expires <= time.time():
        raise errors.Invalid("expires_at lies in the past.", field="expires_at")
    refs = tuple(_role(r) for r in given.roles or ())
    rules = tuple(_rule(r) for r in given.access_rules or ())
    secret = given.secret or secrets.token_urlsafe(64)
    valid = await tokens_of(call).valid(call.headers["x-auth-token"])
    if valid.app_credential is not None and valid.access_rules and not rules:
        raise errors.Forbidden("An application credential with access rules cannot make one without.")
    credential = ApplicationCredential(
        id=hex_id(),
        name=given.name,
        user_id=user_id,
        project_id=call.actor.project_id,
        secret=await passwords.hash_password(secret),
        description=given.description or "",
        expires_at=expires,
        unrestricted=bool(given.unrestricted),
    )
    have = {r.id for r in valid.roles}
    made, _ = await call.write(
        lambda tx: create_app_credential(tx, credential, refs, rules, have), "application_credential.create"
    )
    shelf = await call.read(lambda r: _shelf(r, [made]))
    view = _view(call, made, shelf)
    shown = {n: getattr(view, n) for n in view.__struct_fields__}
    return {"application_credential": shown | {"secret": secret}}


def _role(given: RoleGiven) -> RoleRef:
    if not given.id and not given.name:
        raise errors.Invalid("A role needs an id or a name.", field="roles")
    return RoleRef(id=given.id or "", name=given.name or "")


def _rule(given: RuleGiven) -> Rule:
    if given.id:
        return Rule(id=given.id)
    if not given.service or not given.method or not given.path:
        raise errors.Invalid("An access rule needs an id, or service, method and path.", field="access_rules")
    return Rule(service=given.service, method=given.method, path=given.path)


async def _user(call: Call, policy: str) -> str:
    """Raises Forbidden, then Missing."""
    user_id = call.params["user_id"]
    call.allow(f"identity:{policy}", **{"target.user.id": user_id})
    await call.read(lambda r: r.get(User, user_id))
    return user_id


async def list_credentials(call: Call) -> dict[str, Any]:
    """200, a page. 403, 404 for an unknown user."""
    user_id = await _user(call, "list_application_credentials")
    clauses = Filters(texts=("name",)).clauses(call, ApplicationCredential)
    clauses.append(REGISTRY[ApplicationCredential].table.c.user_id == user_id)
    path = f"/v3/users/{user_id}/application_credentials"

    def look(reader: Reader) -> tuple[listing.Page, Shelf]:
        page = listing.page(call, reader, ApplicationCredential, path, *clauses)
        return page, _shelf(reader, page.records)

    found, shelf = await call.read(look)
    return listing.answer("application_credentials", found, lambda c: _view(call, c, shelf))


async def show(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    user_id = await _user(call, "get_application_credential")
    id = call.params["application_credential_id"]

    def look(reader: Reader) -> tuple[ApplicationCredential | None, Shelf]:
        found = reader.first(ApplicationCredential, id=id, user_id=user_id)
        return found, _shelf(reader, [found] if found else [])

    found, shelf = await call.read(look)
    if found is None:
        raise errors.Missing(f"Could not find Application Credential: {id}.")
    return {"application_credential": _view(call, found, shelf)}


async def delete(call: Call) -> None:
    """204. 403, 404."""
    user_id = await _user(call, "delete_application_credential")
    await call.read(lambda r: _unrestricted(call, r))
    id = call.params["application_credential_id"]
    await call.write(lambda tx: delete_app_credential(tx, user_id, id), "application_credential.delete")


def _rule_view(call: Call, rule: AccessRule) -> RuleView:
    return RuleView(
        id=rule.id,
        service=rule.service,
        method=rule.method,
        path=rule.path,
        links=link(call, f"users/{rule.user_id}/access_rules/{rule.id}"),
    )


async def list_rules(call: Call) -> dict[str, Any]:
    """200, a page. 403, 404 for an unknown user."""
    user_id = await _user(call, "list_access_rules")
    clauses = Filters(texts=("service", "path", "method")).clauses(call, AccessRule)
    clauses.append(REGISTRY[AccessRule].table.c.user_id == user_id)
    path = f"/v3/users/{user_id}/access_rules"
    found = await call.read(lambda r: listing.page(call, r, AccessRule, path, *clauses))
    return listing.answer("access_rules", found, lambda rule: _rule_view(call, rule))


async def show_rule(call: Call) -> dict[str, Any]:
    """200. 403, 404."""
    user_id, id = await _user(call, "get_access_rule"), call.params["access_rule_id"]
    found = await call.read(lambda r: r.first(AccessRule, id=id, user_id=user_id))
    if found is None:
        raise errors.Missing(f"Could not find access rule: {id}.")
    return {"access_rule": _rule_view(call, found)}


async def delete_rule(call: Call) -> None:
    """204. 403 also while it is in use, 404."""
    user_id, id = await _user(call, "delete_access_rule"), call.params["access_rule_id"]
    await call.write(lambda tx: delete_access_rule(tx, user_id, id), "access_rule.delete")
